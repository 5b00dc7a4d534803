-- Runs an operator can trust: crashes counted apart from failures, timings of every stage, paused queues, schedules
-- whose ticks fire once, and the indexes of fair dispatch.

alter table runs
    add column crashes integer not null default 0,
    add column quarantined boolean not null default false,
    add column traceparent text,
    add column timings jsonb not null default '{}',
    add column ready_at timestamptz not null default now(),
    add column claimed_at timestamptz;
comment on column runs.attempts is 'Claims of the current stage that did not end with the death of their worker.';
comment on column runs.crashes is 'Claims whose lease ran out: the worker died or stalled. Counted since the run last made progress.';
comment on column runs.quarantined is 'A dead letter that killed its workers. It says why in /readyz until an operator acts.';
comment on column runs.timings is 'Seconds per stage: {"embed": {"wait": 0.2, "run": 1.4, "claims": 1}}.';
comment on column runs.ready_at is 'Since when the current stage could have been claimed, run_after apart.';
comment on column runs.traceparent is 'W3C trace context of the request that caused the run.';

-- The newest twenty errors: a run that is retried for a year must not grow without bound.
create function with_error(errors jsonb, entry jsonb) returns jsonb language sql immutable as $$
    select coalesce(jsonb_agg(value order by place), '[]'::jsonb)
      from (select value, place from jsonb_array_elements(errors || jsonb_build_array(entry)) with ordinality as e (value, place)
             order by place desc limit 20) newest
$$;

create function with_timing(timings jsonb, stage text, measure text, seconds double precision, claims integer) returns jsonb
language sql immutable as $$
    select timings || jsonb_build_object(stage, coalesce(timings -> stage, '{}'::jsonb) || jsonb_build_object(
        measure, round((coalesce((timings -> stage ->> measure)::numeric, 0) + greatest(seconds, 0)::numeric), 4),
        'claims', coalesce((timings -> stage ->> 'claims')::integer, 0) + claims))
$$;

-- Dispatch goes round the tenants of a queue, takes the oldest due runs of each, and counts what is under way.
drop index runs_due;
create index runs_due on runs (queue, tenant_id, run_after, id) where state in ('pending', 'running');
create index runs_next on runs (queue, run_after) where state in ('pending', 'running');
create index runs_automatic on runs (run_after)
    where kind = 'compile' and state = 'pending' and joinable and not params ? 'explicit';
create index runs_under_way on runs (queue, tenant_id) where state in ('pending', 'running') and woken_at is not null;
create index runs_leased on runs (lease_until) where lease_until is not null;
create index runs_dead on runs (queue, id) where state = 'failed';

create table queue_pauses (
    queue text primary key,
    paused_at timestamptz not null default now(),
    reason text not null default ''
);
comment on table queue_pauses is 'Queues of which nothing is handed out until the row is deleted.';

create table schedules (
    name text primary key,
    every_seconds integer not null,
    offset_seconds integer not null,
    catch_up text not null check (catch_up in ('once', 'skip')),
    last_tick timestamptz,
    next_tick timestamptz not null
);
comment on table schedules is 'What happens at regular times. Written by the schedulers from their code; rows are what operators look at.';

create table schedule_ticks (
    schedule text not null,
    tick timestamptz not null,
    taken_at timestamptz not null default now(),
    outcome text not null check (outcome in ('fired', 'skipped')),
    run_id uuid,
    primary key (schedule, tick)
);
comment on table schedule_ticks is 'One row per tick that came: whoever inserts it fires it, so any number of schedulers fire once.';
create index schedule_ticks_taken on schedule_ticks (taken_at);

do $$
declare
    name text;
begin
    foreach name in array array['queue_pauses', 'schedules', 'schedule_ticks'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy operator on %I to statewave_operator using (true) with check (true)', name);
        execute format('grant select, insert, update, delete on %I to statewave_operator', name);
        execute format('grant select on %I to statewave_app', name);
    end loop;
end
$$;
