// All English text of the console, grouped by page. A page adds a file in strings/, an import and a line here.
import { batches } from "./strings/batches";
import { common, errors, shell, ui } from "./strings/shell";
import { definitions, editor, simulate } from "./strings/definitions";
import { graph } from "./strings/graph";
import { home } from "./strings/home";
import { start } from "./strings/start";
import { statuses } from "./strings/statuses";
import { workflow } from "./strings/workflow";
import { workflows } from "./strings/workflows";
import { session } from "./strings/session";
import * as systemPages from "./strings/system";

export const s = {
  common,
  errors,
  shell,
  ui,
  statuses,
  batches,
  definitions,
  editor,
  simulate,
  graph,
  home,
  start,
  workflow,
  workflows,
  session,
  ...systemPages,
} as const;
