import { useEffect, useState, type ReactNode } from "react";
import { Link, useLocation } from "wouter";
import { usePermissions } from "../api/access";
import { useConnection } from "../api/live";
import icon from "../icon.svg";
import { pages } from "../routes";
import { s } from "../strings";
import { Button } from "./Button";
import { ActionHost } from "./ConfirmDialog";
import { Icon } from "./Icon";
import { Menu } from "./Menu";
import { namespaceColour, NamespaceSwitch } from "./NamespaceSwitch";
import { Palette } from "./Palette";
import { SessionMenu } from "./SessionMenu";
import { ShortcutHelp } from "./ShortcutHelp";
import { useShortcut } from "./shortcuts";
import { setTheme, useTheme, type Theme } from "./theme";
import { Toasts } from "./Toasts";
import { formatLocal } from "./time";

type Open = "help" | "palette" | undefined;

/** The frame of all pages. */
export function Shell({ namespace, children }: { namespace: string; children: ReactNode }) {
  const [open, setOpen] = useState<Open>();
  const [navOpen, setNavOpen] = useState(false);
  const [location, navigate] = useLocation();
  useShortcut("?", () => setOpen("help"));
  useShortcut("mod+k", () => setOpen("palette"));
  useEffect(() => setNavOpen(false), [location]);
  return (
    <div className="shell" style={namespaceColour(namespace)}>
      <a className="skip" href="#main">{s.shell.skip}</a>
      <header className="topbar">
        <Button className="nav-toggle" tone="plain" icon="menu" label={s.shell.openNavigation} aria-expanded={navOpen} onClick={() => setNavOpen(!navOpen)} />
        <Link href="/" className="brand"><img src={icon} alt="" width="20" height="20" /><span>{s.shell.product}</span></Link>
        <NamespaceSwitch namespace={namespace} />
        <span className="gap" />
        <Button className="palette-button" onClick={() => setOpen("palette")} aria-keyshortcuts="Control+K">
          <Icon name="search" /><span>{s.shell.palette}</span><kbd>Ctrl K</kbd>
        </Button>
        <ConnectionState />
        <SessionMenu namespace={namespace} />
        <ThemeSwitch />
        <Button tone="plain" icon="keyboard" label={s.shell.shortcuts} onClick={() => setOpen("help")} />
      </header>
      <Navigation open={navOpen} location={location} />
      <main id="main" className="main" tabIndex={-1}>
        <StaleBar />
        {children}
      </main>
      {open === "help" && <ShortcutHelp onClose={() => setOpen(undefined)} />}
      {open === "palette" && <Palette onClose={() => setOpen(undefined)} onGo={navigate} />}
      <GoShortcuts />
      <ActionHost />
      <Toasts />
    </div>
  );
}

function Navigation({ open, location }: { open: boolean; location: string }) {
  const { can } = usePermissions();
  const current = (path: string) => (path === "/" ? location === "/" : location === path || location.startsWith(`${path}/`));
  return (
    <nav className={`nav${open ? " open" : ""}`} aria-label={s.shell.navigation}>
      {(["operate", "build", "system"] as const).map((group) => {
        const entries = pages.flatMap((page) => (page.nav?.group === group && (!page.nav.needs || can(page.nav.needs)) ? [{ path: page.path, ...page.nav }] : []));
        return entries.length > 0 && (
          <div key={group}>
            <h2>{s.shell.groups[group]}</h2>
            <ul>
              {entries.map((entry) => (
                <li key={entry.path}>
                  <Link href={entry.path} aria-current={current(entry.path) ? "page" : undefined}>
                    <Icon name={entry.icon} />
                    {entry.label}
                  </Link>
                </li>
              ))}
            </ul>
          </div>
        );
      })}
    </nav>
  );
}

function GoShortcuts() {
  return pages.map((page) => page.nav?.key && <GoShortcut key={page.path} to={page.path} letter={page.nav.key} />);
}
function GoShortcut({ to, letter }: { to: string; letter: string }) {
  const [, navigate] = useLocation();
  useShortcut(`g ${letter}`, () => navigate(to));
  return null;
}

function ThemeSwitch() {
  const { theme, resolved } = useTheme();
  const items = (["system", "light", "dark"] as const).map((each: Theme) => ({
    text: s.shell.themes[each], checked: theme === each, onSelect: () => setTheme(each),
  }));
  return <Menu trigger={{ icon: resolved === "dark" ? "ring" : "sun", tone: "plain", label: s.shell.theme }} label={s.shell.theme} items={items} />;
}

function ConnectionState() {
  const connection = useConnection();
  const [tone, icon, text] = connection.state === "live" ? (["good", "dot", s.shell.live] as const)
    : connection.state === "connecting" ? (["idle", "clock", s.shell.connecting] as const)
      : connection.state === "reconnecting" ? (["undo", "retry", s.shell.reconnecting] as const)
        : (["bad", "alert", s.shell.staleSince(formatLocal(connection.since, Date.now()))] as const);
  return (
    <span className={`connection tone-${tone}`} role="status" aria-label={s.shell.connection} data-state={connection.state}>
      <Icon name={icon} /><span>{text}</span>
    </span>
  );
}

function StaleBar() {
  const connection = useConnection();
  if (connection.state !== "stale") return null;
  return <div className="stale-bar" role="alert">{s.errors.unreachable}. {s.errors.unreachableHint}</div>;
}
