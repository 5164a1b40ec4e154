import Foundation
import NormaConfiguration
import TestSupport
import Testing

@Suite struct ConfigurationFileTests {
  private static let known: [ConfigurationFile.Option] = [
    .init(name: "norms"), .init(name: "images"), .init(name: "epochs"), .init(name: "diagnose", isFlag: true),
  ]

  private func read(_ text: String) throws -> [String: String] {
    let folder = try TemporaryFolder()
    try Data(text.utf8).write(to: folder.url.appendingPathComponent("c.yaml"))
    let options = try ConfigurationFile.read(folder.path("c.yaml"), known: Self.known)
    return Dictionary(uniqueKeysWithValues: options.map { ($0.name, $0.value) })
  }

  @Test func valuesAreTakenAsTheyStand() throws {
    #expect(try read("") == [:])
    #expect(try read("# nothing\n") == [:])
    let text = """
      norms: [batch, 'group:8']
      images: "a: b #c.tif"
      epochs: 0x10
      diagnose: false
      """
    #expect(
      try read(text) == ["norms": "batch,group:8", "images": "a: b #c.tif", "epochs": "0x10", "diagnose": "false"])
  }

  @Test func whatIsWrittenIsRead() throws {
    let options = [
      (name: "norms", value: "batch,group:8"), (name: "images", value: "- true: é \"'#\\"),
      (name: "epochs", value: "007"),
      (name: "diagnose", value: "true"),
    ]
    let text = try ConfigurationFile.text(options, comment: "A comment.")
    #expect(text.hasPrefix("# A comment.\n"))
    #expect(try read(text) == Dictionary(uniqueKeysWithValues: options.map { ($0.name, $0.value) }))
  }

  @Test func aliasesCannotMultiply() throws {
    let bomb = "epochs: &a [x,x,x,x,x,x,x,x,x]\n" + (0..<9).map { "b\($0): [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" }.joined()
    let error = #expect(throws: ConfigurationError.self) { try read(bomb) }
    #expect(error?.description.contains("unknown key 'b0'") == true, "\(error?.description ?? "")")
  }
}
