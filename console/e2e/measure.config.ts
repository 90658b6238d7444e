import { mergeConfig } from "vitest/config";
import e2e from "./vitest.config";

// `include` of the two would be joined: the tests of the pages are excluded.
export default mergeConfig(e2e, { test: { include: ["**/*.measure.ts"], exclude: ["**/*.e2e.ts"] } });
