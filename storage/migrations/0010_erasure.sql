-- Erasures: what was erased, when, by whom and why, without what it was. The ledger is what backups are compared with
-- before anything of them is taken in, and where the sweep after each erasure writes what it found.

create table erasures (
    id uuid primary key,
    tenant_id text not null,
    scope text not null check (scope in ('subject', 'memory')),
    subject_sha256 bytea not null,
    erased_at timestamptz not null,
    receipt json not null,
    state text not null default 'unproved' check (state in ('unproved', 'proved', 'leftovers')),
    proof json,
    proved_at timestamptz
);
comment on table erasures is 'The ledger of erasures: hashes and counts, no content. Rows are never deleted.';
comment on column erasures.subject_sha256 is 'Of the tenant''s and the subject''s id: enough to recognise the subject in a backup, not enough to name it.';
comment on column erasures.receipt is 'The signed receipt, exactly as it was signed.';
comment on column erasures.proof is 'What the newest sweep found; the receipt does not change with it.';
create index erasures_subject on erasures (tenant_id, subject_sha256, erased_at desc);
create index erasures_newest on erasures (tenant_id, id desc);

create table erased_items (
    tenant_id text not null,
    item_sha256 bytea not null,
    erasure_id uuid not null references erasures,
    primary key (tenant_id, item_sha256)
);
comment on table erased_items is 'Memories and episodes that were erased one by one, so that a backup does not bring them back.';

do $$
declare
    name text;
begin
    foreach name in array array['erasures', 'erased_items'] loop
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('create policy tenant on %I to statewave_app '
                       'using (tenant_id = current_setting(''app.tenant_id'', true)) '
                       'with check (tenant_id = current_setting(''app.tenant_id'', true))', name);
        execute format('create policy operator on %I to statewave_operator using (true) with check (true)', name);
        -- Nobody may delete, and only the outcome of a sweep may be written later.
        execute format('grant select, insert on %I to statewave_app, statewave_operator', name);
    end loop;
end
$$;
grant update (state, proof, proved_at) on erasures to statewave_operator;
