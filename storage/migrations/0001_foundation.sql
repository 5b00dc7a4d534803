-- Subjects, episodes, memories and their history, retrieval passages, and the runs that turn one into the other.
-- Every table carries tenant_id and forces row-level security from its first moment.

-- The server connects as the owner and takes one of these roles inside each transaction. They are roles of the
-- whole cluster, so another database of the same server may have made them already.
do $$
begin
    begin
        create role statewave_app nologin;
    exception when duplicate_object or unique_violation then null;
    end;
    begin
        create role statewave_operator nologin;
    exception when duplicate_object or unique_violation then null;
    end;
    execute format('grant statewave_app, statewave_operator to %I', current_user);
end
$$;

create table subjects (
    tenant_id text not null,
    subject_id text not null,
    episode_count bigint not null default 0,
    memory_count bigint not null default 0,
    last_seq bigint not null default 0,
    compiled_seq bigint not null default 0,
    compiled_count bigint not null default 0,
    passage_count integer not null default 0,
    speakers text[] not null default '{}',
    last_episode_at timestamptz,
    created_at timestamptz not null default now(),
    primary key (tenant_id, subject_id)
) with (fillfactor = 70);
comment on table subjects is 'One row per subject. Its lock orders the appends of a subject; its counters spare every listing a count.';
comment on column subjects.last_seq is 'Sequence number of the newest episode; given out under the row lock, so it follows commit order.';
comment on column subjects.compiled_seq is 'Episodes up to this number are compiled; those above wait.';
comment on column subjects.compiled_count is 'How many episodes are compiled. Numbers have gaps where repeated episodes were not stored again, so it is counted.';
comment on column subjects.speakers is 'Names of the people who speak in the episodes, for queries that name one.';

create table episodes (
    id uuid primary key,
    tenant_id text not null,
    subject_id text not null,
    seq bigint not null,
    session_id text,
    source text not null,
    type text not null,
    payload json not null,
    metadata json not null,
    provenance json not null,
    body text not null,
    idempotency_key text,
    occurred_at timestamptz not null,
    created_at timestamptz not null,
    unique (tenant_id, subject_id, seq)
);
comment on table episodes is 'What happened: append only, never updated. Documents are json, not jsonb: they are returned as they came and never queried inside.';
comment on column episodes.body is 'The text of the payload, which passages point into.';
create unique index episodes_idempotency_key on episodes (tenant_id, subject_id, idempotency_key) where idempotency_key is not null;
create index episodes_timeline on episodes (tenant_id, subject_id, occurred_at, created_at, id);
create index episodes_session on episodes (tenant_id, subject_id, session_id, seq) where session_id is not null;

create table memories (
    id uuid primary key,
    tenant_id text not null,
    subject_id text not null,
    kind text not null,
    content text not null,
    summary text not null,
    confidence double precision not null,
    valid_from timestamptz not null,
    valid_to timestamptz,
    source_episode_ids uuid[] not null,
    metadata json not null,
    status text not null check (status in ('active', 'superseded', 'tombstoned')),
    sensitivity_labels text[] not null default '{}',
    suggested_labels text[] not null default '{}',
    claim_key text,
    claim_value text,
    content_hash bytea not null,
    superseded_by uuid,
    run_id uuid,
    search tsvector not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
) with (fillfactor = 90);
comment on column memories.content_hash is 'Of the normalised content: an exact repetition is folded into the memory that is there.';
comment on column memories.superseded_by is 'The memory that contradicted this one.';
comment on column memories.updated_at is 'When this state became current; the former states are in memory_versions.';
create index memories_content on memories (tenant_id, subject_id, content_hash);
create index memories_active on memories (tenant_id, subject_id, kind, created_at desc, id desc) where status = 'active';
create index memories_timeline on memories (tenant_id, subject_id, created_at, id);
create index memories_claim on memories (tenant_id, subject_id, claim_key) where claim_key is not null;
create index memories_expiry on memories (valid_to) where status = 'active' and valid_to is not null;
create index memories_run on memories (run_id);

create table memory_versions (
    memory_id uuid not null,
    tenant_id text not null,
    subject_id text not null,
    known_from timestamptz not null,
    known_to timestamptz not null,
    state jsonb not null,
    primary key (memory_id, known_from, known_to)
);
comment on table memory_versions is 'Every former state of a memory with the time in which it was the current one: what did we know at T.';
create index memory_versions_subject on memory_versions (tenant_id, subject_id, known_to);

create function keep_memory_version() returns trigger language plpgsql as $$
begin
    -- A second change within one transaction replaces a state that nobody ever saw.
    if old.updated_at < new.updated_at then
        insert into memory_versions (memory_id, tenant_id, subject_id, known_from, known_to, state)
        values (old.id, old.tenant_id, old.subject_id, old.updated_at, new.updated_at, to_jsonb(old) - 'search' - 'content_hash');
    end if;
    return new;
end
$$;
create trigger keep_version before update on memories for each row execute function keep_memory_version();

-- Retrieval units in arrival order, column by column: one row holds up to 256 passages, so that one index probe and
-- a sequential read bring a whole subject (docs/performance.md compares this with a row per passage).
create table passage_blocks (
    tenant_id text not null,
    subject_id text not null,
    block integer not null,
    passages bytea not null,
    terms bytea not null,
    primary key (tenant_id, subject_id, block)
);
alter table passage_blocks alter column passages set storage external, alter column terms set storage external;
comment on table passage_blocks is 'Derived from episodes and memories; may be rebuilt from them at any time.';

create table passage_vectors (
    tenant_id text not null,
    subject_id text not null,
    model text not null,
    block integer not null,
    scales bytea not null,
    vectors bytea not null,
    primary key (tenant_id, subject_id, model, block)
);
alter table passage_vectors alter column scales set storage external, alter column vectors set storage external;
comment on table passage_vectors is 'Embeddings of the passages of the same block, one byte a dimension, per model that made them.';

create table runs (
    id uuid primary key,
    tenant_id text not null,
    subject_id text,
    kind text not null,
    queue text not null,
    stage text not null,
    state text not null check (state in ('pending', 'running', 'completed', 'failed', 'cancelled')),
    unique_key text,
    joinable boolean not null default true,
    attempts integer not null default 0,
    fence bigint not null default 0,
    lease_until timestamptz,
    run_after timestamptz not null,
    woken_at timestamptz,
    params jsonb not null default '{}',
    result jsonb,
    error text,
    errors jsonb not null default '[]',
    request_id text,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    check ((state in ('completed', 'failed', 'cancelled')) = (finished_at is not null))
) with (fillfactor = 70);
comment on table runs is 'Asynchronous work. The row is the truth, a message on the broker only says that it is ready.';
comment on column runs.joinable is 'Not begun: a further request for the same work joins it instead of adding a run.';
comment on column runs.woken_at is 'When a message for it was last sent; a run that stays due is woken again.';
comment on column runs.fence is 'Grows with every claim. Whoever holds an older fence has lost the run and cannot commit.';
create unique index runs_joinable on runs (tenant_id, unique_key) where joinable and state = 'pending';
create index runs_unfinished on runs (tenant_id, unique_key, created_at, id) where state in ('pending', 'running');
create index runs_due on runs (queue, run_after) where state in ('pending', 'running');
create index runs_subject on runs (tenant_id, subject_id);
create index runs_finished on runs (finished_at) where finished_at is not null;

create table stage_outputs (
    run_id uuid not null references runs on delete cascade,
    tenant_id text not null,
    stage text not null,
    output bytea not null,
    primary key (run_id, stage)
);
comment on table stage_outputs is 'What a stage made, until the last one publishes it. No reader looks here, so nothing is seen half done.';

do $$
declare
    name text;
begin
    foreach name in array array['subjects', 'episodes', 'memories', 'memory_versions', 'passage_blocks',
                                'passage_vectors', 'runs', 'stage_outputs'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy tenant on %I to statewave_app '
                       'using (tenant_id = current_setting(''app.tenant_id'', true)) '
                       'with check (tenant_id = current_setting(''app.tenant_id'', true))', name);
        execute format('create policy operator on %I to statewave_operator using (true) with check (true)', name);
        execute format('grant select, insert, update, delete on %I to statewave_app, statewave_operator', name);
    end loop;
end
$$;
