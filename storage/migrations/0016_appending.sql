-- Appending episodes as one call, so that a client need not go back and forth for it; and as a transaction of its own,
-- which takes one round trip. Calls keep their plans, however they are sent.

create function schedule_compiles(
    tenant text, subjects text[], run_ids uuid[], due timestamptz, queue_name text, request text, trace text
) returns void language plpgsql as $$
begin
    insert into runs (id, tenant_id, subject_id, kind, queue, stage, state, unique_key, run_after, request_id, traceparent)
    select r.id, tenant, r.subject_id, 'compile', queue_name, 'compile', 'pending', 'compile:' || r.subject_id,
           coalesce(due, now()), request, trace
      from unnest(run_ids, subjects) as r (id, subject_id)
        on conflict (tenant_id, unique_key) where joinable and state = 'pending' do nothing;
end
$$;
comment on function schedule_compiles is 'See to it that each subject has a compile run that has not begun. One that waits is left as it is.';

create function append_episodes(
    tenant text, moment timestamptz, rows json, subjects text[], counts bigint[], run_ids uuid[], due timestamptz,
    queue_name text, request text, trace text,
    out tracked text[], out has_webhooks boolean, out repeated json
) language plpgsql
-- Planned for each call, whose arrays it knows, it would be no better and a fifth slower.
set plan_cache_mode = force_generic_plan as $$
declare
    grown text[];
    some_are_repeated boolean;
begin
    -- Locking the subjects comes first, in the order of their ids. The lock gives out sequence numbers, so they follow
    -- commit order, and whoever publishes or erases waits for what is appended here.
    with reserved as (
        insert into subjects as s (tenant_id, subject_id, episode_count, last_seq, last_episode_at)
        select tenant, i.subject_id, i.n, i.n, now()
          from unnest(subjects, counts) as i (subject_id, n)
         order by i.subject_id
            on conflict (tenant_id, subject_id) do update
           set episode_count = s.episode_count + excluded.episode_count,
               last_seq = s.last_seq + excluded.last_seq,
               last_episode_at = excluded.last_episode_at
        returning s.subject_id, s.last_seq, s.resolution_version > 0 as is_tracked
    ), stored as (
        insert into episodes (id, tenant_id, subject_id, seq, session_id, source, type, payload, metadata, provenance,
                              body, idempotency_key, occurred_at, created_at, signals, event_at, user_at, agent_at)
        select e.id, tenant, e.subject_id, r.last_seq - e.followers, e.session_id, e.source, e.type, e.payload,
               e.metadata, e.provenance, e.body, e.idempotency_key, e.occurred_at, moment, e.signals, e.event_at,
               e.user_at, e.agent_at
          from json_to_recordset(rows) as e (
                   id uuid, subject_id text, followers bigint, session_id text, source text, type text, payload json,
                   metadata json, provenance json, body text, idempotency_key text, occurred_at timestamptz,
                   signals smallint, event_at timestamptz, user_at timestamptz, agent_at timestamptz[])
          join reserved r on r.subject_id = e.subject_id
            on conflict (tenant_id, subject_id, idempotency_key) where idempotency_key is not null do nothing
        returning episodes.subject_id
    )
    select array(select r.subject_id from reserved r where r.is_tracked),
           exists (select 1 from webhook_endpoints w where w.tenant_id = tenant and w.enabled),
           (select count(*) from stored) < (select sum(n) from unnest(counts) as n),
           array(select distinct s.subject_id from stored s)
      into tracked, has_webhooks, some_are_repeated, grown;
    if run_ids is not null and grown <> '{}' then
        perform schedule_compiles(tenant, grown, run_ids[:cardinality(grown)], due, queue_name, request, trace);
    end if;
    repeated := '[]';
    if some_are_repeated then
        with known as materialized (
            select e.id, e.subject_id, e.session_id, e.source, e.type, e.payload, e.metadata, e.provenance,
                   e.occurred_at, e.created_at, e.idempotency_key
              from json_to_recordset(rows) as i (id uuid, subject_id text, idempotency_key text)
              join episodes e
                on e.tenant_id = tenant and e.subject_id = i.subject_id and e.idempotency_key = i.idempotency_key
             where e.id <> i.id
        ), released as (
            update subjects s set episode_count = s.episode_count - k.n
              from (select subject_id, count(*) as n from known group by subject_id) k
             where s.tenant_id = tenant and s.subject_id = k.subject_id
        )
        select json_agg(known) into repeated from known;
    end if;
end
$$;
comment on function append_episodes is 'Store the rows whose idempotency keys are new, with a compile run for each subject that grew; `repeated` are the stored episodes of the other keys.';

create function append_alone(
    revision_seen bigint, tenant text, moment timestamptz, rows json, subjects text[], counts bigint[], run_ids uuid[],
    due timestamptz, queue_name text, request text, trace text
) returns json language plpgsql as $$
declare
    appended record;
begin
    -- For the transaction alone, as every transaction of the server begins.
    perform set_config('role', 'statewave_app', true), set_config('app.tenant_id', tenant, true);
    if (revision_seen is not null and revision_seen <> (select a.revision from access_revision a))
       or exists (select 1 from webhook_endpoints w where w.tenant_id = tenant and w.enabled)
       or exists (select 1 from subjects s where s.tenant_id = tenant and s.subject_id = any (subjects)
                     and s.resolution_version > 0) then
        return null;
    end if;
    appended := append_episodes(tenant, moment, rows, subjects, counts, run_ids, due, queue_name, request, trace);
    if appended.has_webhooks or appended.tracked <> '{}' then
        raise serialization_failure using message = 'the subject or its tenant changed while the append waited';
    end if;
    return appended.repeated;
end
$$;
comment on function append_alone is 'A whole transaction: null, and nothing is written, when more is to be done for the episodes than this, or access changed.';
