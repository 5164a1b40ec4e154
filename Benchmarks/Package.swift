// swift-tools-version: 6.1
import PackageDescription

let package = Package(
  name: "NormaBenchmarks",
  platforms: [.macOS(.v15)],
  dependencies: [.package(name: "Norma", path: "..")],
  targets: [
    .executableTarget(
      name: "OperatorOverhead", dependencies: [.product(name: "Norma", package: "Norma")])
  ],
  swiftLanguageModes: [.v6]
)
