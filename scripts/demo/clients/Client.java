import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Java's own client: protocol, status and body of one GET. */
public class Client {
    public static void main(String[] args) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[0])).build();
        HttpResponse<String> answer =
                HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        boolean second = answer.version() == HttpClient.Version.HTTP_2;
        System.out.println((second ? "HTTP/2.0 " : "HTTP/1.1 ") + answer.statusCode());
        System.out.println(answer.body());
    }
}
