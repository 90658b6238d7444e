package io.github.goconductor;

import java.nio.file.Path;

/**
 * Files in PEM form. Changed files are used for new connections.
 *
 * @param ca the authorities that signed the certificates of GoConductor; null means those of the Java runtime
 * @param certificate the certificate of this program; null means that it presents none
 * @param key the private key of the certificate, in the form PKCS #8; null without a certificate
 */
public record TlsFiles(Path ca, Path certificate, Path key) {
    /**
     * Returns files with authorities and without a certificate.
     *
     * @param ca the authorities
     * @return the files
     */
    public static TlsFiles authorities(Path ca) {
        return new TlsFiles(ca, null, null);
    }
}
