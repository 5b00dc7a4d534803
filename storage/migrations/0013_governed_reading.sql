-- What a process may keep of a policy's judgement, and receipts that are written in one round trip.

-- The newest change of a subject's memories is one probe of this index.
create index memories_changed on memories (tenant_id, subject_id, changed_in);

create function memories_version(tenant text, subject text) returns bigint language plpgsql stable as $$
declare
    newest xid8;
    erased xid8;
begin
    select m.changed_in into newest from memories m
     where m.tenant_id = tenant and m.subject_id = subject order by m.changed_in desc limit 1;
    select e.erased_in into erased from partial_erasures e
     where e.tenant_id = tenant and e.subject_id = subject order by e.erased_in desc limit 1;
    if erased > newest or newest is null then
        newest := coalesce(erased, '0');
    end if;
    return case when newest < pg_snapshot_xmin(pg_current_snapshot()) then newest::text::bigint end;
end
$$;
comment on function memories_version is
    'Readers who are told the same version see the same memories of the subject, to the last label. It is the newest transaction that changed or erased any of them, given only if every transaction up to it had ended when the reader''s snapshot was taken; null while one is under way.';

create function reader_state(
    subject text, wants_receipt boolean,
    out bundle_id uuid, out config_text text, out memories_version bigint, out chain_length bigint, out chain_hash bytea
) language plpgsql stable as $$
declare
    tenant constant text := current_setting('app.tenant_id');
    receipts text;
begin
    select b.id into bundle_id from policy_bundles b where b.active and b.tenant_id = tenant;
    if bundle_id is null then
        select b.id into bundle_id from policy_bundles b where b.active and b.tenant_id is null;
    end if;
    select jsonb_build_object('version', c.version, 'config', c.config)::text, c.config->>'receipts'
      into config_text, receipts
      from tenant_configs c where c.tenant_id = tenant;
    if bundle_id is not null then
        memories_version := memories_version(tenant, subject);
    end if;
    if wants_receipt or receipts = 'always' then
        select c.length, c.head_hash into chain_length, chain_hash from receipt_chains c where c.tenant_id = tenant;
    end if;
end
$$;
comment on function reader_state(text, boolean) is
    'As reader_state(), for an answer about one subject: with the version of its memories where there is a policy, and the end of the tenant''s chain where the answer may get a receipt.';

-- The chain moves on only from where the receipt says that it stood. Where it did not, nothing is written, and the answer
-- says where it stands.
-- columns: receipt_id, subject_id, mode, chain_seq, hash of the receipt before it, chain_hash, signature, key_id,
-- algorithm, created_at; hashes in hexadecimal digits.
create function append_receipt(
    columns text[], canonical text, out is_written boolean, out length bigint, out head_hash bytea
) language plpgsql as $$
declare
    tenant constant text := current_setting('app.tenant_id');
    seq constant bigint := columns[4];
    hash constant bytea := decode(columns[6], 'hex');
begin
    update receipt_chains c set length = seq, head_hash = hash
     where c.tenant_id = tenant and c.length = seq - 1 and c.head_hash = decode(columns[5], 'hex');
    is_written := found;
    if not is_written then
        select c.length, c.head_hash into length, head_hash from receipt_chains c where c.tenant_id = tenant;
        return;
    end if;
    insert into receipts (tenant_id, receipt_id, subject_id, mode, chain_seq, chain_hash, canonical, signature, key_id,
                          algorithm, created_at)
    values (tenant, columns[1], columns[2], columns[3], seq, hash, convert_to(canonical, 'UTF8'), columns[7], columns[8],
            columns[9], columns[10]::timestamptz);
end
$$;
comment on function append_receipt is 'Writes a receipt behind the head that it names.';
