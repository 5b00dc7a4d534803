-- Support: how sessions ended, how healthy a subject is, and what both are worked out from.

-- What the figures of a subject need of an episode, read from its payload once, when it is stored: so that one
-- statement over narrow columns answers for thousands of sessions.
alter table episodes
    add column signals smallint not null default 0,
    add column event_at timestamptz,
    add column user_at timestamptz,
    add column agent_at timestamptz[];
comment on column episodes.signals is 'Bits: 1 the customer speaks in it, 2 the other side does, 4 it speaks of an emergency.';
comment on column episodes.event_at is 'When it happened by its own account, if that is not occurred_at.';
comment on column episodes.user_at is 'When the customer first speaks in it, if that is not when it happened.';
comment on column episodes.agent_at is 'Every moment at which the other side speaks in it, if that is not when it happened.';

alter table subjects add column resolution_version bigint not null default 0;
comment on column subjects.resolution_version is
    'Grows with every change of a resolution. With last_seq it says whether what was worked out of the subject still holds.';

create table resolutions (
    id uuid primary key,
    tenant_id text not null,
    subject_id text not null,
    session_id text not null,
    status text not null check (status in ('open', 'resolved', 'unresolved')),
    resolution_summary text,
    resolved_at timestamptz,
    metadata json not null,
    version integer not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (tenant_id, subject_id, session_id),
    check ((status = 'resolved') = (resolved_at is not null))
);
comment on table resolutions is 'How a session ended, in its current state.';
create index resolutions_newest on resolutions (tenant_id, subject_id, updated_at desc, id desc);
create index resolutions_open on resolutions (tenant_id, subject_id) where status = 'open';

create table resolution_changes (
    resolution_id uuid not null,
    version integer not null,
    tenant_id text not null,
    subject_id text not null,
    session_id text not null,
    status text not null,
    resolution_summary text,
    resolved_at timestamptz,
    metadata json not null,
    changed_at timestamptz not null,
    primary key (resolution_id, version)
);
comment on table resolution_changes is 'Every state a resolution has had, the current one included.';
create index resolution_changes_session on resolution_changes (tenant_id, subject_id, session_id, version);

create table support_facts (
    tenant_id text not null,
    subject_id text not null,
    last_seq bigint not null,
    resolution_version bigint not null,
    facts bytea not null,
    primary key (tenant_id, subject_id)
) with (fillfactor = 70);
comment on table support_facts is
    'Derived. Holds while its two numbers are those of the subject; nothing has to be deleted to make it stale.';

create table health_states (
    tenant_id text not null,
    subject_id text not null,
    score integer not null check (score between 0 and 100),
    state text generated always as
        (case when score >= 70 then 'healthy' when score >= 40 then 'watch' else 'at_risk' end) stored,
    alert_state text not null check (alert_state in ('healthy', 'watch', 'at_risk')),
    version bigint not null default 1,
    evaluated_at timestamptz not null,
    next_check_at timestamptz,
    primary key (tenant_id, subject_id)
) with (fillfactor = 70);
comment on table health_states is 'The last health that was worked out of a subject.';
comment on column health_states.alert_state is 'The state subscribers were last told of; it follows the score with a margin.';
comment on column health_states.version is 'Compared and raised by every write: of two that saw the same state, one tells.';
comment on column health_states.next_check_at is 'When time alone may change the score.';
create index health_states_due on health_states (next_check_at) where next_check_at is not null;

do $$
declare
    name text;
begin
    foreach name in array array['resolutions', 'resolution_changes', 'support_facts', 'health_states'] loop
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
