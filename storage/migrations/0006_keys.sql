-- Keys of tenants and of operators. A key itself is stored nowhere, only what it can be recognised by.

create table api_keys (
    id text primary key,
    tenant_id text,
    name text not null,
    secret_hash bytea not null check (length(secret_hash) = 32),
    scopes text[] not null check (scopes <@ array['read', 'write', 'admin'] and cardinality(scopes) > 0),
    caller_id text,
    caller_type text,
    created_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    replaced_by text references api_keys (id),
    revoked_at timestamptz,
    revoked_by text,
    last_used_at timestamptz,
    check (tenant_id is null or not 'admin' = any (scopes)),
    check ((revoked_at is null) = (revoked_by is null))
) with (fillfactor = 80);
comment on table api_keys is 'Keys, also those that are over: the audit log speaks of them.';
comment on column api_keys.id is 'The part of the key that it is looked up by; no secret.';
comment on column api_keys.tenant_id is 'The only tenant the key acts for; null for keys of operators.';
comment on column api_keys.secret_hash is 'SHA-256 of the whole key, which holds 256 random bits: nothing to guess, so no slow hash is needed.';
comment on column api_keys.replaced_by is 'The key that took its place; this one works until expires_at.';
comment on column api_keys.last_used_at is 'Within a minute or so.';
-- A name stands for one key at a time, because the audit log names it.
create unique index api_keys_name on api_keys (name) where revoked_at is null and replaced_by is null;
create index api_keys_tenant on api_keys (tenant_id, created_at desc, id);

-- Not for last_used_at: only what decides whether a key opens anything.
create trigger access_changed after insert or delete or update of expires_at, revoked_at, replaced_by, scopes, tenant_id,
    secret_hash, caller_id, caller_type, name on api_keys
    for each statement execute function raise_access_revision();

alter table api_keys enable row level security;
alter table api_keys force row level security;
create policy operator on api_keys to statewave_operator using (true) with check (true);
-- The application role may ask and gets nothing: no tenant reads keys, not even its own.
create policy tenant on api_keys to statewave_app using (false) with check (false);
grant select on api_keys to statewave_app;
grant select, insert, update, delete on api_keys to statewave_operator;
