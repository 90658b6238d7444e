package io.github.goconductor;

import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import io.grpc.util.CertificateUtils;
import java.io.IOException;
import java.io.InputStream;
import java.net.Socket;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.Principal;
import java.security.PrivateKey;
import java.security.cert.CertificateException;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedKeyManager;
import javax.net.ssl.X509ExtendedTrustManager;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Credentials of TLS, and the check of certificates. */
final class Tls {
    static final String GATEWAY = "api-gateway";
    static final String EXECUTOR = "saga-executor";
    /** The roles in the certificates of GoConductor, as {@code spiffe://<trust domain>/<role>}. */
    private static final Set<String> ROLES =
            Set.of(GATEWAY, EXECUTOR, "state-store", "leader-elector", "worker", "operator");
    /** The type of a name of a certificate that is a URI. */
    private static final int URI_NAME = 6;
    /** The number of handshakes of one connection that may be under way. */
    private static final int MAX_PAIRS = 16;
    private static final Logger LOG = LoggerFactory.getLogger(Client.class);

    private Tls() {}

    /**
     * Returns the credentials of a connection. With byName, the certificate must contain the host name. Without, it must
     * contain the role: executors announce addresses, which certificates need not contain.
     */
    static ChannelCredentials credentials(TlsFiles files, boolean byName, String role) {
        if ((files.certificate() == null) != (files.key() == null)) {
            throw GoConductorException.misuse("a certificate and its key must be set together");
        }
        // A mistake is reported now, and not only by the first handshake.
        authorities(files);
        TlsChannelCredentials.Builder credentials =
                TlsChannelCredentials.newBuilder().trustManager(new Trust(files, byName, role));
        if (files.certificate() != null) {
            credentials.keyManager(identity(files));
        }
        return credentials.build();
    }

    private static X509ExtendedTrustManager authorities(TlsFiles files) {
        try {
            KeyStore store = null;
            if (files.ca() != null) {
                store = KeyStore.getInstance(KeyStore.getDefaultType());
                store.load(null, null);
                int number = 0;
                for (X509Certificate each : certificates(files.ca())) {
                    store.setCertificateEntry("ca-" + number++, each);
                }
            }
            TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            factory.init(store);
            for (TrustManager each : factory.getTrustManagers()) {
                if (each instanceof X509ExtendedTrustManager trust) {
                    return trust;
                }
            }
            throw new GeneralSecurityException("the Java runtime has no trust manager for X.509");
        } catch (IOException | GeneralSecurityException e) {
            throw GoConductorException.of(ErrorKind.MISUSE, "failed to read the authorities: " + e.getMessage(), e);
        }
    }

    private static List<X509Certificate> certificates(Path file) throws IOException, GeneralSecurityException {
        try (InputStream text = Files.newInputStream(file)) {
            List<X509Certificate> found = List.of(CertificateUtils.getX509Certificates(text));
            if (found.isEmpty()) {
                throw new CertificateException("the file " + file + " contains no certificate in PEM form");
            }
            return found;
        }
    }

    private static Identity identity(TlsFiles files) {
        try {
            return new Identity(files);
        } catch (IOException | GeneralSecurityException e) {
            throw GoConductorException.of(ErrorKind.MISUSE,
                    "failed to load the certificate " + files.certificate() + ": " + e.getMessage(), e);
        }
    }

    /** Returns the roles in a certificate. */
    static List<String> roles(X509Certificate certificate) throws CertificateException {
        Collection<List<?>> names = certificate.getSubjectAlternativeNames();
        List<String> found = new ArrayList<>();
        if (names == null) {
            return found;
        }
        for (List<?> name : names) {
            if (Integer.valueOf(URI_NAME).equals(name.get(0))) {
                role(name.get(1).toString()).ifPresent(found::add);
            }
        }
        return found;
    }

    static Optional<String> role(String name) {
        URI uri;
        try {
            uri = URI.create(name);
        } catch (IllegalArgumentException e) {
            return Optional.empty();
        }
        String path = uri.getPath() == null ? "" : uri.getPath();
        String role = path.startsWith("/") ? path.substring(1) : path;
        role = role.contains("/") ? role.substring(0, role.indexOf('/')) : role;
        return "spiffe".equals(uri.getScheme()) && ROLES.contains(role)
                ? Optional.of(role) : Optional.empty();
    }

    /** Reads the authorities for each handshake, and checks the role of the server. */
    private static final class Trust extends X509ExtendedTrustManager {
        private final TlsFiles files;
        private final boolean byName;
        private final String role;

        Trust(TlsFiles files, boolean byName, String role) {
            this.files = files;
            this.byName = byName;
            this.role = role;
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine) throws CertificateException {
            X509ExtendedTrustManager authorities;
            try {
                authorities = authorities(files);
            } catch (GoConductorException e) {
                throw new CertificateException(e.getMessage(), e);
            }
            if (byName) {
                // The engine has the host name, which the call checks.
                authorities.checkServerTrusted(chain, type, engine);
            } else {
                authorities.checkServerTrusted(chain, type);
            }
            List<String> found = roles(chain[0]);
            // The certificate of a gateway may be of a public authority, without a role.
            if (!found.contains(role) && !(found.isEmpty() && byName)) {
                throw new CertificateException(
                        "the certificate of the server has the roles " + found + "; expected " + role);
            }
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type, Socket socket) throws CertificateException {
            throw new CertificateException("connections without an SSLEngine are not supported");
        }

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type) throws CertificateException {
            throw new CertificateException("connections without an SSLEngine are not supported");
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine) throws CertificateException {
            throw new CertificateException("a client does not check clients");
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type, Socket socket) throws CertificateException {
            throw new CertificateException("a client does not check clients");
        }

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type) throws CertificateException {
            throw new CertificateException("a client does not check clients");
        }

        @Override
        public X509Certificate[] getAcceptedIssuers() {
            return new X509Certificate[0];
        }
    }

    /** The certificate of this program and its key. They are read for each handshake. */
    private static final class Identity extends X509ExtendedKeyManager {
        private record Pair(String alias, X509Certificate[] chain, PrivateKey key) {}

        private final TlsFiles files;
        // The alias leads to the pair of its handshake, also if another handshake has read the files meanwhile.
        private final Map<String, Pair> pairs = new LinkedHashMap<>() {
            private static final long serialVersionUID = 1;

            @Override
            protected boolean removeEldestEntry(Map.Entry<String, Pair> eldest) {
                return size() > MAX_PAIRS;
            }
        };
        private long handshakes;

        Identity(TlsFiles files) throws IOException, GeneralSecurityException {
            this.files = files;
            load();
        }

        private synchronized String load() throws IOException, GeneralSecurityException {
            try (InputStream text = Files.newInputStream(files.key())) {
                String alias = "goconductor-" + handshakes++;
                pairs.put(alias, new Pair(alias, certificates(files.certificate()).toArray(X509Certificate[]::new),
                        CertificateUtils.getPrivateKey(text)));
                return alias;
            }
        }

        private String alias() {
            try {
                return load();
            } catch (IOException | GeneralSecurityException e) {
                LOG.error("failed to load the certificate {}; the server will refuse the connection", files.certificate(), e);
                return null;
            }
        }

        private synchronized Pair pair(String alias) {
            return pairs.get(alias);
        }

        @Override
        public String[] getClientAliases(String type, Principal[] issuers) {
            return new String[] {alias()};
        }

        @Override
        public String chooseClientAlias(String[] types, Principal[] issuers, Socket socket) {
            return alias();
        }

        @Override
        public String chooseEngineClientAlias(String[] types, Principal[] issuers, SSLEngine engine) {
            return alias();
        }

        @Override
        public String[] getServerAliases(String type, Principal[] issuers) {
            return new String[0];
        }

        @Override
        public String chooseServerAlias(String type, Principal[] issuers, Socket socket) {
            return null;
        }

        @Override
        public X509Certificate[] getCertificateChain(String alias) {
            Pair pair = pair(alias);
            return pair == null ? null : pair.chain.clone();
        }

        @Override
        public PrivateKey getPrivateKey(String alias) {
            Pair pair = pair(alias);
            return pair == null ? null : pair.key;
        }
    }
}
