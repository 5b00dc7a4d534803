-- Which memories carry labels, policy bundles, and which bundle is active for whom.

create index memories_labelled on memories (tenant_id, subject_id) where sensitivity_labels <> '{}';
create index memories_suggested on memories (tenant_id, created_at desc, id desc) where suggested_labels <> '{}';
-- Operators review the suggestions of all tenants at once.
create index memories_suggested_anywhere on memories (created_at desc, id desc) where suggested_labels <> '{}';
-- A dry run over a tenant reads its memories page by page.
create index memories_of_tenant on memories (tenant_id, id);

create table policy_bundles (
    id uuid primary key,
    tenant_id text,
    bundle_hash text not null,
    yaml_content text not null,
    active boolean not null default false,
    created_at timestamptz not null,
    created_by text not null,
    activated_at timestamptz,
    activated_by text,
    unique nulls not distinct (tenant_id, bundle_hash)
);
comment on table policy_bundles is 'Policies as they were uploaded. A row never changes but for being active or not, so processes may remember it by id.';
comment on column policy_bundles.tenant_id is 'Whose it is; null for the one that holds for every tenant without an active one of its own.';
create unique index policy_bundles_active on policy_bundles (tenant_id) nulls not distinct where active;

alter table policy_bundles enable row level security;
alter table policy_bundles force row level security;
create policy operator on policy_bundles to statewave_operator using (true) with check (true);
-- A tenant reads its own bundles and the global ones; only operators write. Connections without a tenant hold a tab in
-- its place (storage/transactions.py) and see nothing.
create policy tenant on policy_bundles for select to statewave_app
    using (tenant_id = current_setting('app.tenant_id', true)
           or (tenant_id is null and current_setting('app.tenant_id', true) !~ '^\t'));
grant select on policy_bundles to statewave_app, statewave_operator;
grant insert, update, delete on policy_bundles to statewave_operator;

-- Begins every transaction that hands out what is stored. A function, because PostgreSQL keeps its plans for the whole
-- session, while a plain statement beside `begin` would be planned anew each time.
create function reader_state(out bundle_id uuid, out config_text text) language plpgsql stable as $$
declare
    tenant constant text := current_setting('app.tenant_id');
begin
    select b.id into bundle_id from policy_bundles b where b.active and b.tenant_id = tenant;
    if bundle_id is null then
        select b.id into bundle_id from policy_bundles b where b.active and b.tenant_id is null;
    end if;
    select jsonb_build_object('version', c.version, 'config', c.config)::text into config_text
      from tenant_configs c where c.tenant_id = tenant;
end
$$;
comment on function reader_state is 'What governs reading for the tenant of the transaction: its active policy bundle, and its document.';
