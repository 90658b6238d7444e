// node scripts/openapi.js save|check [URL]: saves the server's OpenAPI document in openapi.json, or compares both.
import { readFileSync, writeFileSync } from "node:fs";

const file = new URL("../openapi.json", import.meta.url);
const [mode = "check", server = process.env.GOCONDUCTOR_SERVER ?? "http://127.0.0.1:8470"] = process.argv.slice(2);
const response = await fetch(new URL("/openapi.json", server));
if (!response.ok) throw new Error(`${server}/openapi.json returned ${response.status}`);
const text = `${JSON.stringify(await response.json(), null, 1)}\n`;
if (mode === "save") {
  writeFileSync(file, text);
} else if (readFileSync(file, "utf8") !== text) {
  console.error("error: openapi.json differs from the server's document; run npm run openapi and npm run types");
  process.exit(1);
}
