import type { CSSProperties } from "react";
import { Link, useLocation } from "wouter";
import { usePermissions } from "../../api/access";
import type { Definition } from "../../api/types";
import { OPEN_FILTER } from "../../filter/filter";
import { s } from "../../strings";
import { CopyButton, Empty, Icon, Loaded, Page, PageLink, Table, Time, useParam, type Column } from "../../ui";
import { countsOf, useDefinitionCounts, type DefinitionCounts } from "./counts";
import { useDefinitions } from "./queries";
import "./definitions.css";

const text = s.definitions;
type Row = Definition & { counts: DefinitionCounts };

const columns: readonly Column<Row>[] = [
  {
    id: "name", header: text.name, width: "minmax(0, 2fr)",
    cell: (row) => <><PageLink page="/definitions/:name" to={`/definitions/${row.name}`}>{row.name}</PageLink> {row.title && <span className="muted">{row.title}</span>}</>,
  },
  { id: "version", header: text.version, width: "4.5rem", from: 420, cell: (row) => <span className="num">v{row.version}</span> },
  { id: "success", header: text.success, width: "minmax(8rem, 1.2fr)", cell: (row) => <Success counts={row.counts} /> },
  { id: "open", header: text.open, width: "4.5rem", align: "end", from: 560, cell: (row) => <CountLink row={row} value={row.counts.open} filter={OPEN_FILTER} /> },
  { id: "errors", header: text.errors, width: "4.5rem", align: "end", from: 480, cell: (row) => <CountLink row={row} value={row.counts.errors} filter="status = ERROR" bad /> },
  { id: "applied", header: text.applied, width: "6rem", align: "end", from: 620, cell: (row) => <Time at={row.created_at} /> },
  { id: "actor", header: text.actor, width: "8rem", from: 900, cell: (row) => row.actor },
];

export default function Definitions() {
  const [search, setSearch] = useParam("search");
  const [, navigate] = useLocation();
  const { can } = usePermissions();
  const query = useDefinitions();
  const counts = useDefinitionCounts();
  const wanted = search.trim().toLowerCase();
  const rows = (query.data?.definitions ?? [])
    .filter((each) => `${each.name} ${each.title ?? ""} ${each.description ?? ""}`.toLowerCase().includes(wanted))
    .map((each): Row => ({ ...each, counts: countsOf(counts, each.name) }));
  return (
    <Page title={text.title} full actions={can("definitions.write") && <Link href="/editor" className="button primary"><Icon name="plus" />{text.create}</Link>}>
      <Loaded query={query} lines={8}>
        {({ definitions }) => (definitions.length === 0 ? <Nothing /> : (
          <>
            <input type="search" className="input definition-search" aria-label={text.search} placeholder={s.common.search} value={search} onChange={(event) => setSearch(event.target.value)} />
            <section className="panel fill" aria-label={text.list}>
              <Table label={text.list} columns={columns} rows={rows} rowKey={(row) => row.name} onOpen={(row) => navigate(`/definitions/${row.name}`)}
                empty={<Empty title={text.noMatch} />} foot={<span className="num" role="status">{s.ui.rows(rows.length)}</span>} />
            </section>
          </>
        ))}
      </Loaded>
    </Page>
  );
}

function Nothing() {
  const command = "goconductor definition apply FILE";
  const { can } = usePermissions();
  return (
    <section className="panel" aria-label={text.list}>
      <Empty title={text.emptyTitle} hint={text.emptyHint}>
        <div className="command"><code>{command}</code><CopyButton text={command} /></div>
        {can("definitions.write") && <Link href="/editor" className="button">{text.create}</Link>}
      </Empty>
    </section>
  );
}

/** The share of completed workflows among those that ended, as a bar and as text. */
export function Success({ counts }: { counts: DefinitionCounts }) {
  const ended = counts.completed + counts.rolledBack + counts.terminated;
  if (ended === 0) return <span className="muted">–</span>;
  const share = counts.completed / ended;
  const percent = share === 1 ? "100" : (Math.floor(share * 1000) / 10).toFixed(1);
  return (
    <span className="success" title={text.successHint}>
      <span className="bar" aria-hidden="true"><i style={{ "--share": share } as CSSProperties} /></span>
      <b className="num">{percent} %</b> <span className="muted num">{text.ended(ended)}</span>
    </span>
  );
}

function CountLink({ row, value, filter, bad }: { row: Row; value: number; filter: string; bad?: boolean }) {
  if (value === 0) return <span className="muted num">0</span>;
  return (
    <Link href={`/workflows?filter=${encodeURIComponent(`definition = "${row.name}" AND ${filter}`)}`} className={`num${bad ? " bad-count" : ""}`}>
      {value.toLocaleString("en")}
    </Link>
  );
}
