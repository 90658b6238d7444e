package io.github.goconductor.conformance;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import java.util.Map;

/** A request of the runner. */
record Request(
        int id, String op, String gateway, String namespace, List<String> executors, String service, int capacity,
        Map<String, Integer> limits, Map<String, List<List<Script.Instruction>>> actions, String database, String broken,
        boolean quiet, String gate, String call, String name, String definition, String workflow, JsonNode input, String key,
        Map<String, String> labels, String filter, String cron, String reason) {}
