// Checks the sizes of the built console: compressed JavaScript of the first load, of the graph page and in total.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const KB = 1000;
const LIMITS = { first: 140 * KB, graph: 80 * KB, all: 480 * KB };
const dist = new URL("../dist", import.meta.url).pathname;
if (!existsSync(join(dist, "index.html"))) {
  console.error("error: dist/index.html not found; run npm run build first");
  process.exit(1);
}
const assets = join(dist, "assets");
const scripts = readdirSync(assets).filter((name) => name.endsWith(".js"));
const size = (name) => {
  const compressed = join(assets, `${name}.br`);
  return statSync(existsSync(compressed) ? compressed : join(assets, name)).size;
};
// The scripts that `name` imports statically, itself included.
function closure(name, seen = new Set()) {
  if (seen.has(name)) return seen;
  seen.add(name);
  const source = readFileSync(join(assets, name), "utf8");
  for (const match of source.matchAll(/(?:from|import)\s*["']\.\/([^"']+\.js)["']/g)) closure(match[1], seen);
  return seen;
}
const sum = (names) => [...names].reduce((total, name) => total + size(name), 0);
const page = readFileSync(join(dist, "index.html"), "utf8");
const entries = [...page.matchAll(/(?:src|href)="\/ui\/assets\/([^"]+\.js)"/g)].map((match) => match[1]);
const first = new Set(entries.flatMap((name) => [...closure(name)]));
// The first load is the entry with the larger of the pages that a person opens first.
const landing = scripts.filter((name) => /^(home|workflows)-/i.test(name)).map((name) => closure(name));
const firstLoad = Math.max(sum(first), ...landing.map((names) => sum(new Set([...first, ...names]))));
// The graph page is a workflow with its graph, beyond what each of those pages has loaded before.
const before = landing.reduce((common, names) => new Set([...common].filter((name) => names.has(name))), landing[0] ?? new Set());
const graph = new Set(scripts.filter((name) => /^(graph|workflow)[-.]/i.test(name)).flatMap((name) => [...closure(name)]));
const results = { first: firstLoad, graph: sum([...graph].filter((name) => !first.has(name) && !before.has(name))), all: sum(scripts) };
let failed = false;
for (const [name, limit] of Object.entries(LIMITS)) {
  const over = results[name] > limit;
  failed ||= over;
  console.log(`${over ? "FAIL" : "ok  "} ${name.padEnd(5)} ${(results[name] / KB).toFixed(1)} kB of ${limit / KB} kB`);
}
process.exit(failed ? 1 : 0);
