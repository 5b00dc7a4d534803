-- The login of the autoscaler: it may count runs by queue and time, of all tenants, and read nothing else.
-- Once per database, as the owner of the schema, after the first migration:
--     psql --set password="$(openssl rand -hex 24)" --file autoscaler.sql "$STATEWAVE_DATABASE_URL"
create role statewave_autoscaler login password :'password' connection limit 10;
grant select (queue, state, run_after, lease_until) on runs to statewave_autoscaler;
create policy autoscaler on runs for select to statewave_autoscaler using (true);
alter role statewave_autoscaler set statement_timeout = '5s';
