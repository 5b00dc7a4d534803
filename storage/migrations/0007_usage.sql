-- What tenants use: counts per day, and every call to a model provider with its tokens and its price.

create table usage_days (
    tenant_id text not null,
    day date not null,
    meter text not null,
    quantity bigint not null,
    primary key (tenant_id, day, meter)
) with (fillfactor = 70);
comment on table usage_days is 'How much of what a tenant used on a day (UTC). Processes add up for some seconds and write once, so no request waits for a row.';

create table provider_calls (
    id uuid primary key,
    tenant_id text not null,
    subject_id text,
    run_id uuid,
    kind text not null check (kind in ('completion', 'embedding', 'rerank')),
    provider text not null,
    model text not null,
    input_tokens bigint not null check (input_tokens >= 0),
    output_tokens bigint not null check (output_tokens >= 0),
    cost_usd numeric check (cost_usd >= 0),
    latency_ms integer not null check (latency_ms >= 0),
    outcome text not null,
    at timestamptz not null
);
comment on table provider_calls is 'One call to a model provider, also a failed one. Kept for STATEWAVE_PROVIDER_CALL_RETENTION_DAYS; the sums per day stay.';
comment on column provider_calls.cost_usd is 'Null when nobody knows the price of the model.';
comment on column provider_calls.outcome is 'ok, or what went wrong.';
create index provider_calls_at on provider_calls (at);
create index provider_calls_run on provider_calls (run_id) where run_id is not null;
create index provider_calls_subject on provider_calls (tenant_id, subject_id) where subject_id is not null;

create table provider_usage (
    tenant_id text not null,
    day date not null,
    kind text not null,
    provider text not null,
    model text not null,
    slot smallint not null,
    calls bigint not null,
    failed_calls bigint not null,
    unpriced_calls bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cost_usd numeric not null,
    latency_ms bigint not null,
    primary key (tenant_id, day, kind, provider, model, slot)
) with (fillfactor = 70);
comment on table provider_usage is 'Sums of provider_calls per tenant, day (UTC) and model. Budgets are checked against it. It names no subject, so it outlives their erasure.';
comment on column provider_usage.slot is 'Writers pick one of a few at random, so that calls that end together do not wait for each other.';
create index provider_usage_day on provider_usage (day);

create table provider_usage_subjects (
    tenant_id text not null,
    subject_id text not null,
    day date not null,
    kind text not null,
    provider text not null,
    model text not null,
    calls bigint not null,
    failed_calls bigint not null,
    unpriced_calls bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cost_usd numeric not null,
    latency_ms bigint not null,
    primary key (tenant_id, subject_id, day, kind, provider, model)
) with (fillfactor = 70);
comment on table provider_usage_subjects is 'The same sums per subject; erased with it.';
create index provider_usage_subjects_day on provider_usage_subjects (day);

do $$
declare
    name text;
begin
    foreach name in array array['usage_days', 'provider_calls', 'provider_usage', 'provider_usage_subjects'] loop
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
