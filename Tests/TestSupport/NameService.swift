import Foundation

/// libtorch asks for the name of each address that it connects; where the name service is slow, that takes longer than tests wait.
public enum NameService {
  /// For the environment of a process that connects others.
  public static let brief = ["RES_OPTIONS": "timeout:1 attempts:1"]

  /// Of this process; to be asked for before it connects any.
  public static let isBrief: Bool = brief.allSatisfy { setenv($0.key, $0.value, 0) == 0 }
}
