"""Container runtimes: the command of a server and its environment become those of a container. Pure."""
