import { defineConfig } from "vitest/config";
import react from "@vitejs/plugin-react";

// `npm run dev` proxies the API to a running server. GOCONDUCTOR_SERVER overrides its address.
const server = process.env["GOCONDUCTOR_SERVER"] ?? "http://127.0.0.1:8470";
const proxied = ["/api", "/version", "/openapi.json", "/schema", "/healthz", "/readyz", "/errors", "/docs", "/auth"];

export default defineConfig({
  // The gateway serves the console below /ui/.
  base: "/ui/",
  plugins: [react()],
  server: {
    host: "127.0.0.1",
    proxy: Object.fromEntries(proxied.map((path) => [path, { target: server, changeOrigin: true, headers: { origin: server } }])),
  },
  build: {
    target: "es2023",
    outDir: "dist",
    assetsDir: "assets",
    // A data: URL would need an exception in the Content-Security-Policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  // The limit is only for tests that hang: a loaded machine is slow.
  test: { environment: "jsdom", include: ["src/**/*.test.{ts,tsx}"], restoreMocks: true, testTimeout: 60_000 },
});
