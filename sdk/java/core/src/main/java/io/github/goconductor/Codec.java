package io.github.goconductor;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.cfg.JsonNodeFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.util.Optional;

/** Converts values to JSON and back. */
final class Codec {
    /** The largest number of characters of a text, of a name and of a number. It exceeds every limit of the server. */
    private static final int MAX_TEXT = 64 << 20;

    // Numbers of untyped values keep their digits.
    private static final ObjectMapper MAPPER = mapper();

    private Codec() {}

    private static ObjectMapper mapper() {
        JsonMapper mapper = JsonMapper.builder()
                .findAndAddModules()
                .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
                .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
                .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
                .disable(SerializationFeature.WRITE_DATES_AS_TIMESTAMPS)
                .disable(JsonNodeFeature.STRIP_TRAILING_BIGDECIMAL_ZEROES)
                .build();
        mapper.getFactory().setStreamReadConstraints(
                StreamReadConstraints.builder()
                        .maxStringLength(MAX_TEXT).maxNumberLength(MAX_TEXT).maxNameLength(MAX_TEXT).build());
        return mapper;
    }

    static JavaType type(Class<?> type) {
        return MAPPER.constructType(type);
    }

    static JavaType type(TypeReference<?> type) {
        return MAPPER.constructType(type);
    }

    /**
     * Converts a value to JSON.
     *
     * @param value the value
     * @return the JSON
     * @throws IOException if the value cannot be converted
     */
    static String encode(Object value) throws IOException {
        return value instanceof Json json ? json.text() : MAPPER.writeValueAsString(value);
    }

    /**
     * Converts JSON to a value.
     *
     * @param <T> the type
     * @param text the JSON; an empty text is null
     * @param type the class of the value
     * @return the value
     * @throws IOException if the text has another form
     */
    static <T> T decode(String text, Class<T> type) throws IOException {
        return decode(text, type(type));
    }

    static <T> T decode(String text, JavaType type) throws IOException {
        String json = text.isEmpty() ? "null" : text;
        if (type.hasRawClass(Json.class)) {
            @SuppressWarnings("unchecked")
            T raw = (T) new Json(json);
            return raw;
        }
        return MAPPER.readValue(json, type);
    }

    static boolean isJson(String text) {
        try (JsonParser parser = MAPPER.getFactory().createParser(text)) {
            if (parser.nextToken() == null) {
                return false;
            }
            parser.skipChildren();
            // The parser decodes texts and numbers only on request.
            parser.finishToken();
            return parser.nextToken() == null;
        } catch (IOException e) {
            return false;
        }
    }

    /** Returns the input of an action. */
    static <T> T input(String text, JavaType type) {
        try {
            return decode(text, type);
        } catch (IOException | RuntimeException e) {
            throw badInput(e);
        }
    }

    /** Returns the input of a compensation. */
    static <I, O> CompensationInput<I, O> undo(String text, JavaType input, JavaType output) {
        try {
            JsonNode fields = MAPPER.readTree(text);
            if (!fields.has("input")) {
                // Without this check, an effect would seem not to have happened.
                throw new IOException("the definition sets another input of the compensation than "
                        + "{\"input\": …, \"output\": …}: add the compensation as an action");
            }
            Optional<O> known = present(fields.get("output"))
                    ? Optional.ofNullable(Codec.<O>part(fields.get("output"), output)) : Optional.empty();
            return new CompensationInput<>(Codec.<I>part(fields.get("input"), input), known);
        } catch (IOException | RuntimeException e) {
            throw badInput(e);
        }
    }

    private static boolean present(JsonNode node) {
        return node != null && !node.isNull();
    }

    private static <T> T part(JsonNode node, JavaType type) throws IOException {
        return decode(node == null ? "null" : MAPPER.writeValueAsString(node), type);
    }

    /** Returns the output of an action as JSON. */
    static String output(Object value) {
        try {
            return encode(value);
        } catch (IOException | RuntimeException e) {
            throw ActionException.unknown("BAD_OUTPUT", describe(e)).withCause(e);
        }
    }

    /** Returns a value of the caller as JSON. */
    static String argument(Object value, String name) {
        try {
            return encode(value);
        } catch (IOException | RuntimeException e) {
            throw GoConductorException.misuse("the " + name + " cannot be converted to JSON: " + describe(e));
        }
    }

    static <T> T value(String text, JavaType type) {
        try {
            return decode(text, type);
        } catch (IOException | RuntimeException e) {
            throw GoConductorException.misuse("the JSON cannot be converted to " + type.getTypeName() + ": " + describe(e));
        }
    }

    private static ActionException badInput(Exception e) {
        return ActionException.refused("BAD_INPUT", describe(e)).withCause(e);
    }

    private static String describe(Exception e) {
        return e instanceof JsonProcessingException json ? json.getOriginalMessage() : String.valueOf(e.getMessage());
    }
}
