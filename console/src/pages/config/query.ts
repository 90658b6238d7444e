import { useQuery } from "@tanstack/react-query";
import { api, data } from "../../api/client";
import { keys } from "../../api/keys";
import type { components } from "../../api/schema";
import type { Schema } from "./settings";

export type Config = components["schemas"]["ConfigView"];

/** The JSON Schema of the configuration. It belongs to the release of the server. */
export const useConfigSchema = () => useQuery({
  queryKey: [...keys.config(), "schema"], staleTime: Infinity,
  queryFn: async ({ signal }) => (await data(api.GET("/api/v1/config/schema", { signal }))) as Schema,
});
