// Reads YAML as far as definitions use it. The server has the exact parser; this one only finds what a form shows.
import { yamlLanguage } from "@codemirror/lang-yaml";

interface Node {
  name: string;
  from: number;
  to: number;
  firstChild: Node | null;
  nextSibling: Node | null;
}

/** The value of a YAML text. Undefined where a part is not understood. */
export function parseYaml(text: string): unknown {
  return valueOf(yamlLanguage.parser.parse(text).topNode as unknown as Node, text);
}

function children(node: Node): Node[] {
  const found: Node[] = [];
  for (let child = node.firstChild; child; child = child.nextSibling) found.push(child);
  return found;
}

const VALUES = new Set(["Document", "BlockMapping", "FlowMapping", "BlockSequence", "FlowSequence", "Literal", "QuotedLiteral", "BlockLiteral"]);

function valueOf(node: Node, text: string): unknown {
  const inner = () => children(node).find((child) => VALUES.has(child.name));
  switch (node.name) {
    case "Stream":
    case "Document":
    case "Key":
    case "Item": {
      const child = inner();
      return child ? valueOf(child, text) : null;
    }
    case "BlockMapping":
    case "FlowMapping":
      return Object.fromEntries(children(node).filter((child) => child.name === "Pair").map((pair) => {
        const [key, ...rest] = children(pair);
        const value = rest.find((child) => VALUES.has(child.name));
        return [String(key ? valueOf(key, text) : ""), value ? valueOf(value, text) : null];
      }));
    case "BlockSequence":
    case "FlowSequence":
      return children(node).filter((child) => child.name === "Item").map((item) => valueOf(item, text));
    case "QuotedLiteral":
      return unquote(text.slice(node.from, node.to));
    case "Literal":
      return scalar(text.slice(node.from, node.to).replaceAll(/\s*\n\s*/g, " "));
    default:
      return undefined;
  }
}

function scalar(text: string): unknown {
  if (/^(null|~)?$/.test(text)) return null;
  if (text === "true" || text === "false") return text === "true";
  return /^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/.test(text) ? Number(text) : text;
}

function unquote(text: string): string {
  if (text.startsWith("'")) return text.slice(1, -1).replaceAll("''", "'");
  try {
    return JSON.parse(text) as string;
  } catch {
    return text.slice(1, -1);
  }
}
