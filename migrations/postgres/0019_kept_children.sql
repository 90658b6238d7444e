-- Children whose idempotency key does not begin with the id of their parent. The retention keeps them like the others for as
-- long as their parent exists.
CREATE TABLE kept_children (
    id        UUID NOT NULL PRIMARY KEY,
    parent_id UUID NOT NULL
);
