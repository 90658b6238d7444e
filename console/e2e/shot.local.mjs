import { chromium } from "playwright-core";
const [,, out, path, ...rest] = process.argv;
const opt = Object.fromEntries(rest.map((r) => r.split(/=(.*)/s)));
const b = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
const c = await b.newContext({ viewport: { width: +(opt.w ?? 1440), height: +(opt.h ?? 900) }, colorScheme: opt.theme ?? "light", reducedMotion: "reduce" });
const p = await c.newPage();
p.on("pageerror", (e) => console.log("PAGEERROR", e.message));
p.on("console", (m) => m.type() === "error" && console.log("CONSOLE", m.text().slice(0, 300)));
await p.goto(`http://127.0.0.1:5482/ui${path}`);
await p.waitForTimeout(+(opt.wait ?? 2500));
if (opt.js) { const f = new Function("p", `return (async()=>{${opt.js}})()`); await f(p).catch((e) => console.log("JS", e.message)); await p.waitForTimeout(800); }
await p.screenshot({ path: out });
await b.close();
