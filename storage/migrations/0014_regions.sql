-- Operators of a server that has a region see no row of a tenant that is pinned to another: in no list, count or sum.

do $$
begin
    begin
        create role statewave_regional nologin;
    exception when duplicate_object or unique_violation then null;
    end;
    if not pg_has_role('statewave_regional', 'statewave_operator', 'usage') then
        begin
            grant statewave_operator to statewave_regional;
        exception when others then
            -- Another database of the same server is being migrated at the same moment.
            if sqlerrm not like 'tuple concurrently updated%' then raise; end if;
        end;
    end if;
    execute format('grant statewave_regional to %I', current_user);
end
$$;

create function tenants_elsewhere(region text) returns text[] language sql stable as $$
    select coalesce(array_agg(tenant_id), '{}')
      from tenant_configs
     where config ? 'region' and config -> 'region' not in ('null', '""', to_jsonb(region))
$$;
comment on function tenants_elsewhere is
    'Tenants that a server of this region does not serve: pinned to another one, or to something that is no region.';

-- A table that comes later needs the same; tests/storage/test_tenancy.py looks.
do $$
declare
    name text;
begin
    for name in
        select c.relname from pg_class c
          join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
    loop
        execute format('create policy region on %I as restrictive to statewave_regional '
                       'using (tenant_id is null or tenant_id <> all ((select current_setting(''app.elsewhere''))::text[]))',
                       name);
    end loop;
end
$$;
