import js from "@eslint/js";
import tseslint from "typescript-eslint";
import a11y from "eslint-plugin-jsx-a11y";
import hooks from "eslint-plugin-react-hooks";

export default tseslint.config(
  { ignores: ["dist", "src/api/schema.d.ts", "node_modules"] },
  js.configs.recommended,
  ...tseslint.configs.strict,
  a11y.flatConfigs.strict,
  {
    files: ["**/*.{ts,tsx}"],
    plugins: { "react-hooks": hooks },
    rules: {
      "react-hooks/rules-of-hooks": "error",
      "react-hooks/exhaustive-deps": "error",
      "max-lines": ["error", 500],
      "max-lines-per-function": ["error", { max: 120, skipComments: true, skipBlankLines: true }],
      "no-console": "error",
      // The text of users and participants is untrusted: it is only ever rendered as text.
      "no-restricted-syntax": [
        "error",
        { selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']", message: "render text, not markup" },
        { selector: "AssignmentExpression[left.property.name='innerHTML']", message: "render text, not markup" },
      ],
    },
  },
  { files: ["scripts/**", "eslint.config.js"], languageOptions: { globals: { process: "readonly", console: "readonly", URL: "readonly", fetch: "readonly" } }, rules: { "no-console": "off" } },
);
