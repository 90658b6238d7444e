package io.github.goconductor;

import com.fasterxml.jackson.annotation.JsonRawValue;
import com.fasterxml.jackson.annotation.JsonValue;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.DeserializationContext;
import com.fasterxml.jackson.databind.annotation.JsonDeserialize;
import com.fasterxml.jackson.databind.deser.std.StdDeserializer;
import java.io.IOException;

/**
 * A JSON text, which is part of a value as it is.
 *
 * @param text the text
 */
@JsonDeserialize(using = Json.Reader.class)
public record Json(@JsonRawValue @JsonValue String text) {
    /** The JSON {@code null}. */
    public static final Json NULL = new Json("null");

    /**
     * Checks the text.
     *
     * @param text the text
     * @throws GoConductorException of the kind {@link ErrorKind#MISUSE} if the text is not valid JSON
     */
    public Json {
        if (text == null || text.isEmpty()) {
            text = "null";
        } else if (!Codec.isJson(text)) {
            throw GoConductorException.misuse("the text is not valid JSON: " + abbreviated(text));
        }
    }

    /**
     * Converts a value to JSON.
     *
     * @param value the value
     * @return the JSON
     * @throws GoConductorException of the kind {@link ErrorKind#MISUSE} if the value cannot be converted
     */
    public static Json of(Object value) {
        return value instanceof Json json ? json : new Json(Codec.argument(value, "value"));
    }

    /**
     * Converts the text to a value.
     *
     * @param <T> the type
     * @param type the class of the value
     * @return the value
     * @throws GoConductorException of the kind {@link ErrorKind#MISUSE} if the text has another form
     */
    public <T> T as(Class<T> type) {
        return Codec.value(text, Codec.type(type));
    }

    /**
     * Returns whether the text is {@code null}.
     *
     * @return true if it is
     */
    public boolean isNull() {
        return text.equals("null");
    }

    /**
     * Returns the text.
     *
     * @return the text
     */
    @Override
    public String toString() {
        return text;
    }

    /** Reads the JSON of a field as it is. */
    static final class Reader extends StdDeserializer<Json> {
        private static final long serialVersionUID = 1;

        Reader() {
            super(Json.class);
        }

        @Override
        public Json deserialize(JsonParser parser, DeserializationContext context) throws IOException {
            return new Json(Codec.encode(context.readTree(parser)));
        }

        @Override
        public Json getNullValue(DeserializationContext context) {
            return NULL;
        }
    }

    private static String abbreviated(String text) {
        return text.length() <= 100 ? text : text.substring(0, 100) + "…";
    }
}
