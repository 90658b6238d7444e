import { useQuery } from "@tanstack/react-query";
import { api, data } from "../../api/client";
import { parseExact } from "../../api/json";
import { keys } from "../../api/keys";
import type { Workflow } from "../../api/types";
import { Loading } from "../../ui";
import { payloadSchema, PayloadForm } from "./PayloadForm";
import { parseYaml } from "./yaml";

/** Edits the payload of the signal that a step waits for, by the schema in the definition. */
export default function Payload({ workflow, step, onChange }: { workflow: Workflow; step: string; onChange: (value: string) => void }) {
  const schema = useQuery({
    queryKey: [...keys.definition(workflow.definition, workflow.version), "payload", step],
    queryFn: async ({ signal }) => {
      const path = { name: workflow.definition, version: workflow.version };
      const { source, source_format } = await data(api.GET("/api/v1/definitions/{name}/versions/{version}", { params: { path }, signal }));
      if (!source) return null;
      return payloadSchema(source_format === "json" ? parseExact(source) : parseYaml(source), step) ?? null;
    },
    staleTime: Infinity,
  });
  if (schema.isPending) return <Loading lines={2} />;
  return <PayloadForm schema={schema.data ?? undefined} onChange={onChange} />;
}
