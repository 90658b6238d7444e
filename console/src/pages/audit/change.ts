/** Sets the reason apart from the change, and compares the settings of the configuration with those before. */
export function changeOf(before: unknown, after: unknown): { before: unknown; after: unknown; reason?: string; dryRun?: boolean } {
  if (typeof after !== "object" || after === null || Array.isArray(after)) return { before, after };
  const { reason, dry_run: dryRun, ...rest } = after as Record<string, unknown>;
  const left = "settings" in rest && before !== undefined ? rest.settings : Object.keys(rest).length > 0 || before !== undefined ? rest : undefined;
  return { before, after: left, ...(typeof reason === "string" && { reason }), ...(dryRun === true && { dryRun }) };
}
