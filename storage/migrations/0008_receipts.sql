-- Receipts of what was delivered, chained and never changed; and a history exact enough to deliver it again.

-- Receipts -----------------------------------------------------------------------------------------------------------

create table receipts (
    tenant_id text not null,
    receipt_id text collate "C" not null,
    subject_id text not null,
    mode text not null check (mode in ('retrieval', 'as_of_replay', 'eval_run')),
    chain_seq bigint not null,
    chain_hash bytea not null,
    canonical bytea not null,
    signature text,
    key_id text,
    algorithm text,
    created_at timestamptz not null,
    primary key (tenant_id, receipt_id),
    unique (tenant_id, chain_seq)
);
alter table receipts alter column canonical set compression pglz;
comment on table receipts is 'What was delivered, to whom, under which policy. Rows are written once: nobody has the right to update or delete them.';
comment on column receipts.canonical is 'The body without its signature, as the very bytes that were signed and hashed; the only copy, so no other can disagree with it.';
comment on column receipts.chain_hash is 'SHA-256 of the canonical body with its signature: what the next receipt of the tenant names as its previous_hash.';
create index receipts_subject on receipts (tenant_id, subject_id, receipt_id desc);
create index receipts_subject_anywhere on receipts (subject_id, receipt_id desc);
create index receipts_id on receipts (receipt_id);
create index receipts_age on receipts (tenant_id, created_at);

create trigger append_only before update or delete on receipts for each row execute function refuse_change();
create trigger append_only_whole before truncate on receipts for each statement execute function refuse_change();

create table receipt_tombstones (
    tenant_id text not null,
    receipt_id text collate "C" not null,
    tombstoned_at timestamptz not null,
    primary key (tenant_id, receipt_id),
    foreign key (tenant_id, receipt_id) references receipts
);
comment on table receipt_tombstones is 'Receipts past their retention: hidden from lists, still readable and verifiable.';

create table receipt_chains (
    tenant_id text primary key,
    length bigint not null,
    head_hash bytea not null
) with (fillfactor = 50);
comment on table receipt_chains is 'The newest receipt of each tenant. Its lock orders the tenant''s receipts.';

-- History ------------------------------------------------------------------------------------------------------------

-- Clocks of several machines cannot say what a reader saw; transactions can. Every kept state names the transaction
-- that wrote it and the one that replaced it, and a receipt names the snapshot it was read under.

alter table memories add column changed_in xid8 not null default pg_current_xact_id();
comment on column memories.changed_in is 'The transaction that wrote this state.';
alter table memory_versions
    add column written_in xid8 not null default pg_current_xact_id(),
    add column replaced_in xid8 not null default pg_current_xact_id();

create or replace function keep_memory_version() returns trigger language plpgsql as $$
begin
    -- A second change within one transaction replaces a state that nobody ever saw.
    if old.changed_in <> pg_current_xact_id() then
        -- The clock of another machine may be behind: a state is never replaced before it began.
        new.updated_at := greatest(new.updated_at, old.updated_at + interval '1 microsecond');
        insert into memory_versions (memory_id, tenant_id, subject_id, known_from, known_to, state, written_in)
        values (old.id, old.tenant_id, old.subject_id, old.updated_at, new.updated_at,
                to_jsonb(old) - 'search' - 'content_hash' - 'changed_in', old.changed_in);
        new.changed_in := pg_current_xact_id();
    end if;
    return new;
end
$$;

alter table resolutions add column changed_in xid8 not null default pg_current_xact_id();
create table resolution_versions (
    resolution_id uuid not null,
    tenant_id text not null,
    subject_id text not null,
    known_from timestamptz not null,
    known_to timestamptz not null,
    written_in xid8 not null,
    replaced_in xid8 not null default pg_current_xact_id(),
    state jsonb not null,
    primary key (resolution_id, replaced_in)
);
comment on table resolution_versions is
    'Every former state of a resolution, repetitions included: resolution_changes tells what changed, this what stood.';
create index resolution_versions_subject on resolution_versions (tenant_id, subject_id);

create function keep_resolution_version() returns trigger language plpgsql as $$
begin
    if old.changed_in <> pg_current_xact_id() then
        insert into resolution_versions (resolution_id, tenant_id, subject_id, known_from, known_to, written_in, state)
        values (old.id, old.tenant_id, old.subject_id, old.updated_at, greatest(new.updated_at, old.updated_at),
                old.changed_in, to_jsonb(old) - 'changed_in');
        new.changed_in := pg_current_xact_id();
    end if;
    return new;
end
$$;
create trigger keep_version before update on resolutions for each row execute function keep_resolution_version();

create table subject_states (
    tenant_id text not null,
    subject_id text not null,
    number bigint generated always as identity,
    compiled_seq bigint not null,
    passage_count integer not null,
    speakers text[],
    known_from timestamptz not null default clock_timestamp(),
    written_in xid8 not null default pg_current_xact_id(),
    primary key (tenant_id, subject_id, number)
);
comment on table subject_states is 'How far a subject was compiled, and since when. Passages are only ever added, so their number says which there were.';
comment on column subject_states.speakers is 'Null where they are those of the state before.';
insert into subject_states (tenant_id, subject_id, compiled_seq, passage_count, speakers)
select tenant_id, subject_id, compiled_seq, passage_count, speakers from subjects where compiled_seq > 0 or passage_count > 0;

create function keep_subject_state() returns trigger language plpgsql as $$
begin
    insert into subject_states (tenant_id, subject_id, compiled_seq, passage_count, speakers)
    values (new.tenant_id, new.subject_id, new.compiled_seq, new.passage_count,
            case when new.speakers is distinct from old.speakers then new.speakers end);
    return null;
end
$$;
create trigger keep_state after update on subjects for each row
    when ((old.compiled_seq, old.passage_count, old.speakers) is distinct from
          (new.compiled_seq, new.passage_count, new.speakers))
    execute function keep_subject_state();

create table passage_ends (
    tenant_id text not null,
    subject_id text not null,
    number bigint generated always as identity,
    source_id uuid not null,
    valid_until bigint not null,
    known_to timestamptz not null,
    replaced_in xid8 not null default pg_current_xact_id(),
    primary key (tenant_id, subject_id, number)
);
comment on table passage_ends is 'What passage_blocks said of the end of a source before it was ended.';

create table partial_erasures (
    tenant_id text not null,
    subject_id text not null,
    erased_in xid8 not null default pg_current_xact_id(),
    erased_at timestamptz not null default now(),
    primary key (tenant_id, subject_id, erased_in)
);
comment on table partial_erasures is 'Something of the subject was erased: what was delivered before cannot be rebuilt.';

create function keep_partial_erasure() returns trigger language plpgsql as $$
begin
    insert into partial_erasures (tenant_id, subject_id)
    select distinct tenant_id, subject_id from erased
    on conflict do nothing;
    return null;
end
$$;
create trigger keep_erasure after delete on memories referencing old table as erased
    for each statement execute function keep_partial_erasure();
create trigger keep_erasure after delete on episodes referencing old table as erased
    for each statement execute function keep_partial_erasure();

-- The world as it stood ----------------------------------------------------------------------------------------------

-- The same tables as of a moment. A transaction that puts this schema before the others in its search path runs every
-- query of the server against them. The moment is set for the transaction:
--   app.as_of_snapshot  the transactions whose writes are seen (pg_snapshot); empty: all
--   app.as_of_time      states that had begun by then (timestamptz); empty: any
--   app.as_of_seq       episodes of the subject up to this number; empty: all
--   app.as_of_labels    'then' for the labels that memories had then, anything else for those they have
create schema as_of;
grant usage on schema as_of to statewave_app, statewave_operator;

create function as_of.stood(written xid8, began timestamptz, replaced xid8, ended timestamptz) returns boolean
language sql stable as $$
    with moment as (
        select nullif(current_setting('app.as_of_snapshot', true), '')::pg_snapshot as snapshot,
               nullif(current_setting('app.as_of_time', true), '')::timestamptz as known_at
    )
    select (snapshot is null or pg_visible_in_snapshot(written, snapshot))
       and (known_at is null or began <= known_at)
       and not coalesce((snapshot is null or pg_visible_in_snapshot(replaced, snapshot))
                        and (known_at is null or ended <= known_at) and replaced is not null, false)
      from moment
$$;

create view as_of.memories with (security_invoker = true) as
select m.id, m.tenant_id, m.subject_id, m.kind, m.content, m.summary, m.confidence, r.valid_from, r.valid_to,
       r.source_episode_ids, r.metadata, r.status,
       case when current_setting('app.as_of_labels', true) = 'then'
            then r.sensitivity_labels else m.sensitivity_labels end as sensitivity_labels,
       r.suggested_labels, r.claim_key, r.claim_value, m.content_hash, r.superseded_by, m.run_id, m.search,
       m.created_at, r.updated_at, m.changed_in
  from memories m
  cross join lateral (
    select '{}'::jsonb as state where as_of.stood(m.changed_in, m.updated_at, null, null)
    union all
    select v.state from memory_versions v
     where v.memory_id = m.id and as_of.stood(v.written_in, v.known_from, v.replaced_in, v.known_to)
    limit 1
  ) v
  cross join lateral jsonb_populate_record(m, v.state) r;

create view as_of.resolutions with (security_invoker = true) as
select m.id, m.tenant_id, m.subject_id, m.session_id, r.status, r.resolution_summary, r.resolved_at, r.metadata,
       r.version, m.created_at, r.updated_at, m.changed_in
  from resolutions m
  cross join lateral (
    select '{}'::jsonb as state where as_of.stood(m.changed_in, m.updated_at, null, null)
    union all
    select v.state from resolution_versions v
     where v.resolution_id = m.id and as_of.stood(v.written_in, v.known_from, v.replaced_in, v.known_to)
    limit 1
  ) v
  cross join lateral jsonb_populate_record(m, v.state) r;

create view as_of.episodes with (security_invoker = true) as
select * from episodes
 where seq <= coalesce(nullif(current_setting('app.as_of_seq', true), '')::bigint, 9223372036854775807);

do $$
declare
    name text;
    rights text;
begin
    for name, rights in values ('receipts', 'select, insert'), ('receipt_tombstones', 'select, insert'),
                               ('receipt_chains', 'select, insert, update'),
                               ('resolution_versions', 'select, insert, update, delete'),
                               ('subject_states', 'select, insert, update, delete'),
                               ('passage_ends', 'select, insert, update, delete'),
                               ('partial_erasures', 'select, insert, update, delete') loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy tenant on %I to statewave_app '
                       'using (tenant_id = current_setting(''app.tenant_id'', true)) '
                       'with check (tenant_id = current_setting(''app.tenant_id'', true))', name);
        execute format('create policy operator on %I to statewave_operator using (true) with check (true)', name);
        execute format('grant %s on %I to statewave_app, statewave_operator', rights, name);
    end loop;
    grant select on as_of.memories, as_of.resolutions, as_of.episodes to statewave_app, statewave_operator;
end
$$;
