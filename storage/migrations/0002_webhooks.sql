-- Webhooks: who wants to hear of what, and what is to be sent where. How a delivery goes is in its run.

create table webhook_endpoints (
    id uuid primary key,
    tenant_id text not null,
    url text not null,
    events text[] not null default '{}',
    description text not null default '',
    secret text not null,
    former_secret text,
    former_secret_until timestamptz,
    enabled boolean not null default true,
    disabled_reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (enabled = (disabled_reason is null))
);
comment on table webhook_endpoints is 'Addresses that tenants have their events sent to. The one of STATEWAVE_WEBHOOK_URL is not here: its id is zero.';
comment on column webhook_endpoints.events is 'Events that are sent; empty means all.';
comment on column webhook_endpoints.former_secret is 'Signs as well until former_secret_until, so that receivers can change over.';
create index webhook_endpoints_tenant on webhook_endpoints (tenant_id, id);

create table webhook_deliveries (
    id uuid primary key references runs on delete cascade,
    tenant_id text not null,
    event_id uuid not null,
    endpoint_id uuid not null,
    event text not null,
    data json not null,
    created_at timestamptz not null default now(),
    http_status smallint,
    last_attempt_at timestamptz
) with (fillfactor = 85);
comment on table webhook_deliveries is 'One event for one endpoint, written by the transaction that caused it. The run of the same id says how it goes.';
comment on column webhook_deliveries.event_id is 'The same for all endpoints that hear of the event: the id of one of these deliveries.';
comment on column webhook_deliveries.http_status is 'What the receiver last answered; null when it did not.';
create index webhook_deliveries_tenant on webhook_deliveries (tenant_id, id);
create index webhook_deliveries_event on webhook_deliveries (event_id) where event_id <> id;
create index runs_webhooks on runs (state, id) where kind = 'webhook';

create table webhook_subjects (
    delivery_id uuid not null references webhook_deliveries on delete cascade,
    tenant_id text not null,
    subject_id text not null,
    primary key (delivery_id, subject_id)
);
comment on table webhook_subjects is 'Subjects that an event about several names, so that erasing one of them finds it. An event about one has it in its run.';
create index webhook_subjects_subject on webhook_subjects (tenant_id, subject_id);

create table webhook_breakers (
    endpoint_id uuid primary key,
    tenant_id text not null,
    failures integer not null,
    open_until timestamptz
) with (fillfactor = 70);
comment on table webhook_breakers is 'Endpoints in trouble. An endpoint without a row is well.';
comment on column webhook_breakers.open_until is 'Nothing is sent before this time; then one delivery tries for all.';

do $$
declare
    name text;
begin
    foreach name in array array['webhook_endpoints', 'webhook_deliveries', 'webhook_subjects', 'webhook_breakers'] loop
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
