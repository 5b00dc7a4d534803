-- What operators say about a tenant, the log of what operators did, and a number that tells every process that what it
-- remembers about access is out of date.

create table tenant_configs (
    tenant_id text primary key,
    config jsonb not null default '{}' check (jsonb_typeof(config) = 'object'),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
comment on table tenant_configs is 'One row per tenant that an operator configured; a tenant without one has the defaults.';
comment on column tenant_configs.version is 'Grows by one with every change; whoever changes the document names the version that he read.';

create table audit_log (
    id uuid primary key,
    at timestamptz not null default clock_timestamp(),
    actor text not null,
    tenant_id text,
    action text not null,
    target text not null default '',
    details json not null default '{}',
    request_id text
);
comment on table audit_log is 'What operators did: append only. Rows carry names and numbers, never what subjects said.';
comment on column audit_log.tenant_id is 'Whose rows were touched; null where it concerns the installation.';
create index audit_log_tenant on audit_log (tenant_id, id desc);
create index audit_log_actor on audit_log (actor, id desc);
create index audit_log_action on audit_log (action, id desc);
create index audit_log_at on audit_log (at);

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append only', tg_table_name using errcode = 'insufficient_privilege';
end
$$;
-- For the owner as well, who needs no grant.
create trigger append_only before update or delete on audit_log for each row execute function refuse_change();
create trigger append_only_whole before truncate on audit_log for each statement execute function refuse_change();

create table access_revision (
    only_row boolean primary key default true check (only_row),
    revision bigint not null
);
comment on table access_revision is 'Grows in the transaction of every change of a key or of a tenant''s document. Who remembers either compares.';
insert into access_revision (revision) values (1);

create function raise_access_revision() returns trigger language plpgsql as $$
begin
    update access_revision set revision = revision + 1;
    return null;
end
$$;
create trigger access_changed after insert or update of config on tenant_configs
    for each statement execute function raise_access_revision();

do $$
declare
    name text;
begin
    foreach name in array array['tenant_configs', 'audit_log', 'access_revision'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy operator on %I to statewave_operator using (true) with check (true)', name);
    end loop;
    foreach name in array array['tenant_configs', 'audit_log'] loop
        execute format('create policy tenant on %I to statewave_app '
                       'using (tenant_id = current_setting(''app.tenant_id'', true)) '
                       'with check (tenant_id = current_setting(''app.tenant_id'', true))', name);
    end loop;
end
$$;
-- Connections without a tenant hold a tab in its place (storage/transactions.py).
create policy tenant on access_revision for select to statewave_app
    using (current_setting('app.tenant_id', true) !~ '^\t');
-- A tenant reads its document and never writes it.
grant select on tenant_configs, audit_log, access_revision to statewave_app, statewave_operator;
grant insert on audit_log to statewave_app, statewave_operator;
grant insert, update, delete on tenant_configs to statewave_operator;
grant update on access_revision to statewave_operator;
