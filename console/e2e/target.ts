// CONSOLE_E2E selects the server under test: `dev` (default) or `processes`.
import { Processes } from "./processes";
import { Dev, type Conductor, type Options } from "./server";

const wanted = process.env["CONSOLE_E2E"] ?? "dev";
if (wanted !== "dev" && wanted !== "processes") throw new Error(`CONSOLE_E2E=${wanted} is neither dev nor processes`);

export const overProcesses = wanted === "processes";

export function startConductor(options: Options = {}): Promise<Conductor> {
  return overProcesses ? Processes.start(options) : Dev.start(options);
}
