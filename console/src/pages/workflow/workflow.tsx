import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useCallback, useMemo, useRef, useState, type ReactNode } from "react";
import { Link, useParams } from "wouter";
import { usePermissions } from "../../api/access";
import { api, ApiError, data } from "../../api/client";
import { useRelations, useWorkflowGraph, type RelatedWorkflow } from "../../api/insight";
import { keys } from "../../api/keys";
import { useLiveWorkflow } from "../../api/live";
import { FINAL_STATUSES, type Workflow as WorkflowData } from "../../api/types";
import { sagaGraph, type Counts, type SagaGraph, type Way } from "../../graph/model";
import { StepGraph, WaySwitch } from "../../graph/StepGraph";
import { s } from "../../strings";
import { Empty, ErrorState, Loading, Page, StatusBadge, Tabs, useParam, type Tab } from "../../ui";
import { rollsBack } from "./explain";
import { StepPanel } from "./StepPanel";
import { StepTree } from "./StepTree";
import { Facts, HeadActions, WaitingList, Why } from "./WorkflowHead";
import "./workflow.css";

const text = s.workflow;
// The tabs behind the graph are loaded when one of them is first shown.
const tabs = () => import("./tabs");
const HistoryTab = lazy(async () => ({ default: (await tabs()).HistoryTab }));
const TimelineTab = lazy(async () => ({ default: (await tabs()).TimelineTab }));
const DataTab = lazy(async () => ({ default: (await tabs()).DataTab }));
const RelationsTab = lazy(async () => ({ default: (await tabs()).RelationsTab }));
const AuditTab = lazy(async () => ({ default: (await tabs()).AuditTab }));
const later = (tab: ReactNode) => <Suspense fallback={<Loading lines={8} />}>{tab}</Suspense>;

const NARROW = "(max-width: 48rem)";

export default function WorkflowPage() {
  const { id = "" } = useParams<{ id: string }>();
  useLiveWorkflow(id);
  const query = useQuery({
    queryKey: keys.workflow(id),
    queryFn: ({ signal }) => data(api.GET("/api/v1/workflows/{id}", { params: { path: { id } }, signal })),
  });
  if (query.data) return <Loaded key={id} workflow={query.data} />;
  const missing = query.error instanceof ApiError && [400, 404].includes(query.error.status);
  return (
    <Page title={s.workflows.title}>
      {missing ? <Empty title={text.notFound} hint={text.notFoundHint}><Link href="/workflows">{text.back}</Link></Empty>
        : query.isError ? <ErrorState error={query.error} onRetry={() => void query.refetch()} /> : <Loading lines={8} />}
    </Page>
  );
}

function Loaded({ workflow }: { workflow: WorkflowData }) {
  const { can } = usePermissions();
  const [tab, setTab] = useParam("tab", "graph");
  const [selected, setSelected] = useParam("step");
  const [opened, setOpened] = useState(false);
  const origin = useRef<HTMLElement | null>(null);
  const graph = useSaga(workflow);
  const select = useCallback((step: string) => {
    origin.current = document.activeElement as HTMLElement | null;
    setOpened(true);
    setSelected(step);
  }, [setSelected]);
  const show = (step: string) => {
    if (tab !== "graph" && tab !== "timeline") setTab("graph");
    setTimeout(() => select(step));
  };
  const step = workflow.steps.find((each) => each.name === selected);
  const close = () => {
    setSelected("");
    setOpened(false);
    origin.current?.focus();
  };
  const panel = step && <StepPanel key={step.name} workflow={workflow} step={step} node={graph.data?.nodes.find((node) => node.name === step.name)} focus={opened} onClose={close} />;
  const shown: Tab[] = [
    { id: "graph", label: text.tabs.graph, render: () => <div className="panes"><GraphTab workflow={workflow} graph={graph} selected={step?.name} onSelect={select} />{panel}</div> },
    { id: "timeline", label: text.tabs.timeline, render: () => <div className="panes">{later(<TimelineTab workflow={workflow} selected={step?.name} onSelect={select} />)}{panel}</div> },
    { id: "history", label: text.tabs.history, render: () => later(<HistoryTab workflow={workflow} />) },
    { id: "data", label: text.tabs.data, render: () => later(<DataTab workflow={workflow} />) },
    { id: "relations", label: text.tabs.relations, render: () => later(<RelationsTab workflow={workflow} />) },
    ...(can("audit.read") ? [{ id: "audit", label: text.tabs.audit, render: () => later(<AuditTab workflow={workflow} />) }] : []),
  ];
  return (
    <Page full title={workflow.definition} documentTitle={text.documentTitle(workflow.definition, workflow.id)}
      mark={<><span className="muted num">{text.version(workflow.version)}</span><StatusBadge status={workflow.status} /></>} actions={<HeadActions workflow={workflow} />}>
      <Facts workflow={workflow} />
      <Why workflow={workflow} onStep={show} />
      <WaitingList workflow={workflow} onStep={show} />
      <div className="workflow-tabs"><Tabs label={text.tabsLabel} tabs={shown} active={tab} onChange={setTab} /></div>
    </Page>
  );
}

interface Saga {
  data: SagaGraph | undefined;
  error: unknown;
  retry: () => void;
}

/** The graph with the statuses of the steps, and the counts of the elements of `for_each`. */
function useSaga(workflow: WorkflowData): Saga {
  const graph = useWorkflowGraph(workflow.id, workflow.definition, workflow.version);
  const folds = graph.data?.nodes.some((node) => node.for_each) === true && (workflow.children?.length ?? 0) > 0;
  const relations = useRelations(workflow.id, workflow.seq, folds);
  const elements = useMemo(() => (folds ? elementCounts(relations.data?.children ?? []) : undefined), [folds, relations.data]);
  const saga = useMemo(() => graph.data && sagaGraph(graph.data, workflow.steps, elements), [graph.data, workflow.steps, elements]);
  return { data: saga, error: graph.error, retry: () => void graph.refetch() };
}

/** The workflows of each step by whether they have ended. */
function elementCounts(children: readonly RelatedWorkflow[]): Map<string, Counts> {
  const counts = new Map<string, Counts>();
  for (const { step, status } of children) {
    if (step === null) continue;
    const before = counts.get(step) ?? { total: 0, ended: 0 };
    counts.set(step, { total: before.total + 1, ended: before.ended + (FINAL_STATUSES.includes(status ?? "") ? 1 : 0) });
  }
  return counts;
}

function GraphTab({ workflow, graph, selected, onSelect }: { workflow: WorkflowData; graph: Saga; selected: string | undefined; onSelect: (step: string) => void }) {
  const [narrow] = useState(() => window.matchMedia(NARROW).matches);
  const [chosenWay, setWay] = useParam("way");
  const [chosenView, setView] = useParam("view");
  const way: Way = chosenWay === "forward" || chosenWay === "undo" || chosenWay === "both" ? chosenWay : rollsBack(workflow) ? "both" : "forward";
  const view = chosenView === "graph" || chosenView === "tree" ? chosenView : narrow ? "tree" : "graph";
  return (
    <div className="graph-tab">
      <div className="toolbar">
        <div className="switch" role="group" aria-label={text.view}>
          {(["graph", "tree"] as const).map((each) => <button key={each} type="button" aria-pressed={view === each} onClick={() => setView(each)}>{text.views[each]}</button>)}
        </div>
        <WaySwitch way={way} onChange={setWay} />
      </div>
      {graph.data ? (
        view === "graph" ? <StepGraph graph={graph.data} label={s.graph.label(workflow.definition)} way={way} selected={selected} onSelect={onSelect} />
          : <StepTree graph={graph.data} steps={workflow.steps} way={way} selected={selected} onSelect={onSelect} />
      ) : graph.error ? <ErrorState error={graph.error} onRetry={graph.retry} /> : <Loading lines={6} />}
    </div>
  );
}
