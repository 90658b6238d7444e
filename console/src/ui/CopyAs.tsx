import { s } from "../strings";
import { currentNamespace, DEFAULT_NAMESPACE } from "../api/session";
import { Button } from "./Button";
import { Menu } from "./Menu";
import { showToast } from "./toast";

async function copyText(text: string): Promise<void> {
  await navigator.clipboard.writeText(text);
  showToast({ tone: "idle", text: s.common.copied });
}

/** Copies a text. A long text is passed as a function, which is called when it is copied. */
export function CopyButton({ text, label = s.common.copy }: { text: string | (() => string); label?: string }) {
  return <Button tone="plain" small icon="copy" label={label} onClick={() => void copyText(typeof text === "string" ? text : text())} />;
}

/** Quotes an argument for a POSIX shell. */
export function shellQuote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A command of the CLI: `cli("workflow", "cancel", id, "--reason", reason)`. Adds the namespace. */
export function cli(...args: readonly string[]): string {
  const namespace = currentNamespace();
  const extra = namespace === DEFAULT_NAMESPACE ? [] : ["--namespace", namespace];
  return ["goconductor", ...args, ...extra].map(shellQuote).join(" ");
}

/** A curl command for the API. `path` begins with `/api/v1`. */
export function curl(method: string, path: string, body?: unknown): string {
  const parts = ["curl", "-X", method, `${window.location.origin}${path}`];
  const namespace = currentNamespace();
  if (namespace !== DEFAULT_NAMESPACE) parts.push("-H", `GoConductor-Namespace: ${namespace}`);
  if (body !== undefined) parts.push("-H", "Content-Type: application/json", "-d", JSON.stringify(body));
  return parts.map(shellQuote).join(" ");
}

/** A menu that copies the commands with the same effect. */
export function CopyAs({ command, request }: { command: string; request: string }) {
  return (
    <Menu
      trigger={{ text: s.ui.copyAs, icon: "copy" }}
      label={s.ui.copyAs}
      items={[
        { text: s.ui.copyCli, onSelect: () => void copyText(command) },
        { text: s.ui.copyCurl, onSelect: () => void copyText(request) },
      ]}
    />
  );
}
