import { useState, type CSSProperties } from "react";
import { useSession } from "../api/access";
import { useOverview } from "../api/overview";
import { isAlwaysProtected, isProtected, setProtected } from "../api/protection";
import { baseOf, namespaceHue, recentNamespaces, rememberNamespace } from "../api/session";
import { s } from "../strings";
import { Button } from "./Button";
import { Checkbox, TextField } from "./Field";
import { Icon } from "./Icon";
import { Popover } from "./Popover";

/** The colour of a namespace, for the property `--namespace`. The lightness follows the theme. */
export function namespaceColour(namespace: string): CSSProperties {
  return { "--namespace": `hsl(${namespaceHue(namespace)} 62% var(--namespace-lightness))` } as CSSProperties;
}

function go(name: string): void {
  rememberNamespace(name);
  window.location.assign(`${baseOf(name)}/`);
}

export function NamespaceSwitch({ namespace }: { namespace: string }) {
  const [guarded, setGuarded] = useState(() => isProtected(namespace));
  return (
    <Popover role="dialog" label={s.shell.namespace} trigger={{
      className: "namespace", label: s.shell.switchNamespace(namespace),
      text: <><i style={namespaceColour(namespace)} /><span className="truncate">{namespace}</span>{guarded && <Icon name="lock" />}<Icon name="down" /></>,
    }}>
      {() => (
        <>
          <Namespaces namespace={namespace} />
          <div className="popover-body popover-part">
            <Checkbox label={s.session.protect} checked={guarded} disabled={isAlwaysProtected(namespace)}
              onChange={(event) => {
                setProtected(namespace, event.target.checked);
                setGuarded(event.target.checked);
              }} />
            {isAlwaysProtected(namespace) && <p className="menu-note">{s.session.protectAlways}</p>}
          </div>
        </>
      )}
    </Popover>
  );
}

/** The namespaces that the server knows and the caller may read, and those that were opened in this browser. */
function Namespaces({ namespace }: { namespace: string }) {
  const [other, setOther] = useState("");
  const known = useOverview().data?.namespaces ?? [];
  const granted = useSession().data?.grants.flatMap((grant) => grant.namespaces ?? []) ?? [];
  const names = [...new Set([namespace, ...recentNamespaces(), ...[...known, ...granted].sort()])].filter((name) => name !== "*");
  return (
    <form
      className="popover-body"
      onSubmit={(event) => {
        event.preventDefault();
        if (other.trim() !== "") go(other.trim());
      }}
    >
      <ul className="namespace-list" aria-label={s.session.knownNamespaces}>
        {names.map((name) => (
          <li key={name}>
            <button type="button" className="menu-item namespace" aria-current={name === namespace ? "true" : undefined} onClick={() => go(name)}>
              <i style={namespaceColour(name)} /><span className="truncate">{name}</span>
              {isProtected(name) && <Icon name="lock" />}
              {name === namespace && <Icon name="check" />}
            </button>
          </li>
        ))}
      </ul>
      <TextField label={s.shell.otherNamespace} value={other} maxLength={63} onChange={(event) => setOther(event.target.value)} />
      <Button type="submit">{s.shell.openNamespace}</Button>
    </form>
  );
}
