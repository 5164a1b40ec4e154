// swift-tools-version: 6.1
import PackageDescription

let package = Package(
  name: "NormaExamples",
  platforms: [.macOS(.v15)],
  // By path: the link to libtorch that `make setup` makes lies in Norma's checkout.
  dependencies: [.package(name: "Norma", path: "..")],
  targets: [
    .executableTarget(name: "OwnNetwork", dependencies: [.product(name: "Norma", package: "Norma")])
  ],
  swiftLanguageModes: [.v6]
)
