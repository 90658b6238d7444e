import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    root: new URL(".", import.meta.url).pathname,
    include: ["**/*.e2e.ts"],
    environment: "node",
    // Browsers and servers share the processors with the tests.
    fileParallelism: false,
    // Limits only for tests that hang: a test waits for conditions, and a loaded machine is slow.
    testTimeout: 240_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 60_000 } },
  },
});
