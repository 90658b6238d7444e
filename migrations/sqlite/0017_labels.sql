-- The labels of workflows, by name and value, in the order of the ids. Triggers write the table, because an earlier release
-- that uses the file starts and removes workflows as well. A workflow without labels has no entry.
CREATE TABLE workflow_labels (
    namespace   TEXT NOT NULL,
    name        TEXT NOT NULL,
    value       TEXT NOT NULL,
    workflow_id BLOB NOT NULL,
    definition  TEXT NOT NULL,              -- of the workflow, for counts
    PRIMARY KEY (namespace, name, value, workflow_id)
) WITHOUT ROWID;

-- The labels and the definition of a workflow do not change. A damaged value has no entries, so that it does not make a write
-- or this migration fail.
CREATE TRIGGER workflow_labels_insert AFTER INSERT ON workflows WHEN NEW.labels <> '{}'
BEGIN
    INSERT INTO workflow_labels (namespace, name, value, workflow_id, definition)
        SELECT NEW.namespace, each.key, each.value, NEW.id, NEW.definition
        FROM json_each(CASE WHEN json_valid(NEW.labels) THEN NEW.labels ELSE '{}' END) AS each
        WHERE each.type = 'text' ON CONFLICT DO NOTHING;
END;
CREATE TRIGGER workflow_labels_delete AFTER DELETE ON workflows WHEN OLD.labels <> '{}'
BEGIN
    DELETE FROM workflow_labels WHERE namespace = OLD.namespace AND workflow_id = OLD.id AND (name, value) IN (
        SELECT each.key, each.value
        FROM json_each(CASE WHEN json_valid(OLD.labels) THEN OLD.labels ELSE '{}' END) AS each);
END;

-- Sorted, so that the entries are appended.
INSERT INTO workflow_labels (namespace, name, value, workflow_id, definition)
    SELECT workflows.namespace, each.key, each.value, workflows.id, workflows.definition
    FROM workflows, json_each(CASE WHEN json_valid(workflows.labels) THEN workflows.labels ELSE '{}' END) AS each
    WHERE workflows.labels <> '{}' AND each.type = 'text'
    ORDER BY 1, 2, 3, 4 ON CONFLICT DO NOTHING;
