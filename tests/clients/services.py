"""services: Testcontainers starts databases and talks to them; DOCKER_HOST says where the engine is."""

import pg8000.native
from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.redis import RedisContainer

with PostgresContainer("test-postgres", driver=None) as postgres:
    connection = pg8000.native.Connection(
        postgres.username, host=postgres.get_container_host_ip(), port=int(postgres.get_exposed_port(5432)),
        database=postgres.dbname, password=postgres.password)
    connection.run("CREATE TABLE boxes (name text)")
    connection.run("INSERT INTO boxes VALUES ('kept')")
    print("postgres", connection.run("SELECT name FROM boxes")[0][0])
    connection.close()

with RedisContainer("test-redis", password="s3cret") as server:
    client = server.get_client()
    client.set("box", "kept")
    print("redis", client.get("box").decode())
    client.close()
