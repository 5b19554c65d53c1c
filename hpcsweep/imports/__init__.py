"""Read results of other tools, figures in documents, and logs. Pure.

`documents/` reads text, Markdown, HTML and logs; `results/` reads result files and printed blocks of load clients;
`sweep` converts imported results to a sweep for the store; `explanation` explains a log.
"""
