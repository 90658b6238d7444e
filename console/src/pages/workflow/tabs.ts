// The tabs that are loaded on demand.
export { AuditTab } from "./AuditTab";
export { DataTab } from "./DataTab";
export { HistoryTab } from "./HistoryTab";
export { RelationsTab } from "./RelationsTab";
export { TimelineTab } from "./TimelineTab";
