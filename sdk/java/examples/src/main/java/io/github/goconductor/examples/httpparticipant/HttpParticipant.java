// A participant over plain HTTP, without an SDK: goconductor service set parcels --url http://127.0.0.1:9101
package io.github.goconductor.examples.httpparticipant;

final class HttpParticipant {
    public static void main(String[] arguments) throws java.io.IOException {
        var server = com.sun.net.httpserver.HttpServer.create(new java.net.InetSocketAddress("127.0.0.1", 9101), 0);
        var responses = new java.util.concurrent.ConcurrentHashMap<String, String>(); // a real service: in its database
        server.createContext("/", exchange -> {
            var response = responses.computeIfAbsent(exchange.getRequestHeaders().getFirst("Idempotency-Key"),
                    key -> "{\"done\": \"" + exchange.getRequestURI().getPath() + "\"}").getBytes();
            exchange.getResponseHeaders().set("Content-Type", "application/json");
            exchange.sendResponseHeaders(200, response.length);
            exchange.getResponseBody().write(response);
            exchange.close();
        });
        server.start();
    }
}
