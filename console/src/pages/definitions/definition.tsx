import { useMemo, useState } from "react";
import { Link, useLocation, useParams } from "wouter";
import { usePermissions } from "../../api/access";
import { api, data } from "../../api/client";
import type { GraphNode, WorkflowGraph } from "../../api/insight";
import { keys } from "../../api/keys";
import type { Definition as DefinitionData } from "../../api/types";
import { sagaGraph, type Way } from "../../graph/model";
import { StepGraph, WaySwitch } from "../../graph/StepGraph";
import { s } from "../../strings";
import { Button, cli, CodeEditor, confirmAction, CopyAs, CopyButton, curl, Empty, Icon, Loaded, Menu, Page, Panel, saveFile, Select, Table, Tabs, Time, useParam, type Column } from "../../ui";
import { GraphDiff, TextDiff } from "./Changes";
import { countsOf, useDefinitionCounts } from "./counts";
import { Success } from "./definitions";
import { useDefinition, useGraph, useVersions } from "./queries";
import { Simulate } from "./Simulate";
import "./definitions.css";

const text = s.definitions;

export default function Definition() {
  const { name = "" } = useParams<{ name: string }>();
  const [wanted, setWanted] = useParam("version");
  const [tab, setTab] = useParam("tab", "graph");
  const isVersion = /^[1-9]\d*$/.test(wanted);
  const newest = useDefinition(name);
  const old = useDefinition(name, Number(wanted), { enabled: isVersion });
  const query = isVersion ? old : newest;
  const version = query.data?.version;
  const graph = useGraph(name, version);
  const tabs = [
    { id: "graph", label: text.tabs.graph, render: () => <Loaded query={graph} lines={8}>{(loaded) => <GraphTab graph={loaded} />}</Loaded> },
    { id: "simulate", label: text.tabs.simulate, render: () => <Loaded query={graph} lines={8}>{(loaded) => <Simulate name={name} version={version} graph={loaded} />}</Loaded> },
    { id: "source", label: text.tabs.source, render: () => <Loaded query={query} lines={12}>{(loaded) => <Source definition={loaded} />}</Loaded> },
    { id: "versions", label: text.tabs.versions, render: () => <Versions name={name} /> },
    { id: "changes", label: text.tabs.changes, render: () => <Changes name={name} /> },
  ];
  return (
    <Page title={name} actions={newest.data && <Actions name={name} version={wanted === "" ? undefined : version} />}>
      <Loaded query={query} lines={2}>
        {(definition) => <Head definition={definition} newest={newest.data?.version ?? definition.version} onVersion={(next) => setWanted(next)} />}
      </Loaded>
      {query.data && <Tabs label={text.tabsLabel} tabs={tabs} active={tab} onChange={(id) => setTab(id)} />}
    </Page>
  );
}

function Head({ definition, newest, onVersion }: { definition: DefinitionData; newest: number; onVersion: (version: string) => void }) {
  const counts = countsOf(useDefinitionCounts(), definition.name);
  const versions = useVersions(definition.name);
  const options = versions.data?.map((each) => each.version) ?? [definition.version];
  return (
    <div className="definition-head">
      <div className="definition-about">
        {(definition.title || definition.description) && <p>{definition.title && <strong>{definition.title}</strong>} {definition.description && <span className="muted">{definition.description}</span>}</p>}
        <p className="row muted">
          <Success counts={counts} />
          <span>{text.applied} <Time at={definition.created_at} />{definition.actor && <> · {definition.actor}</>}</span>
          <Link href={`/workflows?filter=${encodeURIComponent(`definition = "${definition.name}"`)}`}>{s.workflows.title}</Link>
        </p>
      </div>
      <Select label={text.showVersion} value={definition.version === newest ? "" : String(definition.version)} onChange={(event) => onVersion(event.target.value)}
        options={options.map((each) => (each === newest ? ["", text.newest(each)] : [String(each), text.old(each)]) as [string, string])} />
    </div>
  );
}

function Actions({ name, version }: { name: string; version: number | undefined }) {
  const { can } = usePermissions();
  const [, navigate] = useLocation();
  const remove = () => confirmAction({
    title: text.deleteTitle, body: text.deleteBody, verb: text.delete, danger: true, typed: name, reason: "none", done: text.deleted,
    run: async () => {
      await data(api.DELETE("/api/v1/definitions/{name}", { params: { path: { name } } }));
      navigate("/definitions");
    },
    refresh: [keys.definitions()],
    audit: { target_kind: "definition", target_name: name },
  });
  return (
    <>
      <CopyAs command={cli("definition", "get", name)} request={curl("GET", `/api/v1/definitions/${name}`)} />
      {can("definitions.write") && <Link href={`/editor/${name}`} className="button"><Icon name="pencil" />{text.edit}</Link>}
      {can("workflows.start") && <Link href={`/start?definition=${name}${version === undefined ? "" : `&version=${version}`}`} className="button primary"><Icon name="play" />{text.start}</Link>}
      {can("definitions.write") && <Menu trigger={{ icon: "down", label: text.moreActions }} label={text.moreActions} items={[{ text: text.delete, icon: "trash", danger: true, onSelect: remove }]} />}
    </>
  );
}

function GraphTab({ graph }: { graph: WorkflowGraph }) {
  const [way, setWay] = useState<Way>("both");
  const [step, setStep] = useParam("step");
  const saga = useMemo(() => sagaGraph(graph), [graph]);
  return (
    <div className="stack definition-tab">
      <section className="panel" aria-label={text.tabs.graph}>
        <div className="panel-head"><h2>{text.tabs.graph}</h2><WaySwitch way={way} onChange={setWay} /></div>
        <div className="graph-frame large"><StepGraph graph={saga} label={s.graph.label(graph.name)} way={way} selected={step || undefined} onSelect={(next) => setStep(next === step ? "" : next)} /></div>
      </section>
      <Panel title={text.steps}><Steps graph={graph} step={step} /></Panel>
    </div>
  );
}

/** The steps as a table: the graph as text. */
function Steps({ graph, step }: { graph: WorkflowGraph; step: string }) {
  const columns: readonly Column<GraphNode>[] = [
    {
      id: "step", header: text.step, width: "minmax(0, 1.2fr)",
      cell: (row) => <span className={row.name === step ? "chosen-step" : undefined}>{row.title || row.name} {row.title && <span className="muted mono">{row.name}</span>}</span>,
    },
    { id: "action", header: text.action, width: "minmax(0, 1fr)", cell: (row) => <span className="mono">{row.action}</span> },
    { id: "undo", header: text.undo, width: "minmax(0, 1fr)", from: 420, cell: (row) => (row.compensate ? <span className="mono undo-text">{row.compensate}</span> : <span className="muted">{row.kind === "compensatable" ? text.noUndo : text.kinds[row.kind] ?? row.kind}</span>) },
    { id: "after", header: text.after, width: "minmax(0, 0.8fr)", from: 560, cell: (row) => <span className="mono muted">{graph.edges.filter((edge) => edge.to === row.name).map((edge) => edge.from).join(", ") || text.firstStep}</span> },
    { id: "when", header: text.condition, width: "minmax(0, 1fr)", from: 760, cell: (row) => <span className="mono">{row.when.map((each) => (each.holds ? each.expression : `!(${each.expression})`)).join(" && ")}</span> },
  ];
  return <Table label={text.steps} auto columns={columns} rows={graph.nodes} rowKey={(row) => row.name} />;
}

function Source({ definition }: { definition: DefinitionData }) {
  const source = definition.source ?? "";
  const language = definition.source_format === "json" ? "json" : "yaml";
  const save = () => saveFile([source], `${definition.name}.${language}`, "text/plain");
  return (
    <section className="panel definition-tab" aria-label={text.tabs.source}>
      <div className="panel-head">
        <h2>{text.tabs.source}</h2>
        <span className="row"><CopyButton text={source} label={text.copySource} /><Button small onClick={save}>{text.download}</Button></span>
      </div>
      <div className="source-view"><CodeEditor key={definition.version} label={text.source(definition.name, definition.version)} language={language} value={source} readOnly /></div>
    </section>
  );
}

function Versions({ name }: { name: string }) {
  const query = useVersions(name);
  const [, navigate] = useLocation();
  const columns: readonly Column<DefinitionData>[] = [
    { id: "version", header: text.version, width: "5rem", cell: (row) => <Link href={`/definitions/${name}?version=${row.version}`} className="num">v{row.version}</Link> },
    { id: "applied", header: text.applied, width: "7rem", cell: (row) => <Time at={row.created_at} /> },
    { id: "actor", header: text.actor, from: 420, cell: (row) => row.actor },
    { id: "digest", header: text.digest, width: "minmax(0, 1.5fr)", from: 620, cell: (row) => <span className="mono muted" title={row.digest}>{row.digest.slice(0, 23)}</span> },
    {
      id: "compare", header: text.compare, width: "7rem", align: "end",
      cell: (row) => row.version > 1 && <Link href={`/definitions/${name}?tab=changes&from=${row.version - 1}&to=${row.version}`}>{text.compare}</Link>,
    },
  ];
  return (
    <section className="panel definition-tab" aria-label={text.versions}>
      <Loaded query={query}>
        {(versions) => <Table label={text.versions} auto columns={columns} rows={versions} rowKey={(row) => String(row.version)} onOpen={(row) => navigate(`/definitions/${name}?version=${row.version}`)} />}
      </Loaded>
    </section>
  );
}

function Changes({ name }: { name: string }) {
  const versions = useVersions(name);
  return <Loaded query={versions}>{(list) => (list.length < 2 ? <section className="panel"><Empty title={s.ui.noDifference} hint={text.oneVersion} /></section> : <Compare name={name} versions={list} />)}</Loaded>;
}

function Compare({ name, versions }: { name: string; versions: readonly DefinitionData[] }) {
  const newest = versions[0]?.version ?? 1;
  const [from, setFrom] = useParam("from", String(newest - 1));
  const [to, setTo] = useParam("to", String(newest));
  const [before, after] = [useDefinition(name, Number(from)), useDefinition(name, Number(to))];
  const [graphBefore, graphAfter] = [useGraph(name, Number(from)), useGraph(name, Number(to))];
  const options = versions.map((each) => [String(each.version), `v${each.version}`] as const);
  return (
    <div className="stack definition-tab">
      <div className="compare-choice">
        <Select label={text.from} value={from} options={options} onChange={(event) => setFrom(event.target.value)} />
        <Select label={text.to} value={to} options={options} onChange={(event) => setTo(event.target.value)} />
      </div>
      <Panel title={text.textChanges}>
        <div className="panel-body stack">
          <Loaded query={before}>{(a) => <Loaded query={after}>{(b) => <TextDiff key={`${from}-${to}`} before={a.source ?? ""} after={b.source ?? ""} label={text.textChanges} />}</Loaded>}</Loaded>
        </div>
      </Panel>
      <Panel title={text.graphChanges}>
        <div className="panel-body">
          <Loaded query={graphBefore}>{(a) => <Loaded query={graphAfter}>{(b) => <GraphDiff key={`${from}-${to}`} before={a} after={b} />}</Loaded>}</Loaded>
        </div>
      </Panel>
    </div>
  );
}
