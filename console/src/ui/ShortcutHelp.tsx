import { Fragment } from "react";
import { pages } from "../routes";
import { s } from "../strings";
import { Dialog } from "./Dialog";

export function ShortcutHelp({ onClose }: { onClose: () => void }) {
  const names = s.shell.shortcutNames;
  const go = pages.flatMap((page) => (page.nav?.key ? [[`g ${page.nav.key}`, names.go(page.nav.label)] as const] : []));
  return (
    <Dialog title={s.shell.shortcuts} onClose={onClose}>
      <h3>{s.shell.shortcutGroups.global}</h3>
      <Keys rows={[["?", names.help], ["Ctrl K", names.palette], ["/", names.search], ...go]} />
      <h3>{s.shell.shortcutGroups.list}</h3>
      <Keys rows={[["j k", names.move], ["Home End", names.ends], ["Enter", names.open], ["Space", names.select]]} />
    </Dialog>
  );
}

function Keys({ rows }: { rows: readonly (readonly [string, string])[] }) {
  return (
    <dl className="shortcut-list">
      {rows.map(([keys, text]) => (
        <Fragment key={keys}>
          <dt>{text}</dt>
          <dd>{keys.split(" ").map((key) => <kbd key={key}>{key}</kbd>)}</dd>
        </Fragment>
      ))}
    </dl>
  );
}
