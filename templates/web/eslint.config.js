import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["**/vendor/", "**/node_modules/"] },
  js.configs.recommended,
  {
    files: ["**/web/report/**/*.js", "**/web/dashboard/**/*.js"],
    languageOptions: { globals: globals.browser },
    rules: {
      eqeqeq: "error",
      "no-restricted-properties": [
        "error",
        { property: "innerHTML", message: "Text of logs would be parsed as HTML; use make() or textContent." },
        { property: "outerHTML", message: "Text of logs would be parsed as HTML; use make() or textContent." },
        { property: "insertAdjacentHTML", message: "Text of logs would be parsed as HTML." },
      ],
      "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      "no-var": "error",
      "prefer-const": "error",
    },
  },
  { files: ["**/tests/web/*.js"], languageOptions: { globals: { ...globals.node, ...globals.browser } } },
];
