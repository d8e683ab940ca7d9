import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.util.Properties;
import javax.mail.Session;
import javax.mail.Transport;
import javax.mail.internet.InternetAddress;
import javax.mail.internet.MimeMessage;

/**
 * Sends as JIRA does: the form's fields become the properties of a session, and each mail gets a connection of its own.
 * Messages come in on stdin, each behind its length; "sent" or the exception goes out for each.
 */
public class JiraSender {
    public static void main(String[] arguments) throws Exception {
        String protocol = arguments[0], host = arguments[1], port = arguments[2];
        String user = arguments[3], password = arguments[4], sender = arguments[5], recipient = arguments[6];
        String prefix = "mail." + protocol + ".";
        Properties form = new Properties();
        form.put("mail.transport.protocol", protocol);
        form.put(prefix + "host", host);
        form.put(prefix + "port", port);
        form.put(prefix + "auth", "true");
        form.put(prefix + "timeout", "10000");
        form.put(prefix + "connectiontimeout", "10000");
        form.put(prefix + "ssl.checkserveridentity", "true");
        if (protocol.equals("smtp")) {
            form.put(prefix + "starttls.enable", "true");
        }
        form.put(prefix + "from", sender);
        Session session = Session.getInstance(form);
        DataInputStream input = new DataInputStream(System.in);
        for (int length = input.readInt(); length > 0; length = input.readInt()) {
            byte[] octets = new byte[length];
            input.readFully(octets);
            System.out.println(send(session, octets, user, password, recipient));
        }
    }

    static String send(Session session, byte[] octets, String user, String password, String recipient) {
        try (Transport transport = session.getTransport()) {
            MimeMessage message = new MimeMessage(session, new ByteArrayInputStream(octets));
            transport.connect(session.getProperty("mail." + session.getProperty("mail.transport.protocol") + ".host"),
                user, password);
            transport.sendMessage(message, InternetAddress.parse(recipient));
            return "sent";
        } catch (Exception problem) {
            return problem.toString().replace('\n', ' ');
        }
    }
}
